package images

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Name is the complete name of an image.
type Name struct {
	Repository string // with the registry, such as "docker.io/library/hello"
	Tag        string
}

func (n Name) String() string { return n.Repository + ":" + n.Tag }

// grammar is that of a repository: a host, and a path as in the OCI distribution specification, "Pulling manifests".
const grammar = `^[A-Za-z0-9][A-Za-z0-9.:-]*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)+$`

// ParseName completes an image's name as containerd and Docker do: the default
// registry and the tag "latest" where text has none. A digest is an error: it
// is known only when the image is built.
func ParseName(text string) (Name, error) {
	if strings.Contains(text, "@") {
		return Name{}, fmt.Errorf("image name %q must not have a digest", text)
	}
	tag, err := name.NewTag(text)
	registry, path := tag.RegistryStr(), tag.RepositoryStr()
	if err != nil || !regexp.MustCompile(grammar).MatchString(registry+"/"+path) || strings.HasSuffix(text, ":") {
		return Name{}, fmt.Errorf("image name %q: want [REGISTRY/]NAME[:TAG] in lower case", text)
	}
	if registry == name.DefaultRegistry {
		registry = "docker.io" // as containerd and Docker write it
	}
	return Name{registry + "/" + path, tag.TagStr()}, nil
}
