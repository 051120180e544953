//go:build linux

package docker

import (
	"os"
	"strings"
	"testing"

	"containerd-shim-wagi-v1/test/machine"
)

// Variables of the container reach the guests.
func TestEnvironment(t *testing.T) {
	e := start(t, nil)
	e.guests(t)
	file := e.dir + "/environment"
	if err := os.WriteFile(file, []byte("# a comment\nFROM_FILE=a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.run(t, "web", "guests", "--env", "FROM_FLAG=a flag", "--env-file", file)
	want(t, home, "hello\n")
	text, err := get(home + "/env")
	if err != nil {
		t.Fatal(err)
	}
	for _, variable := range []string{"FROM_FLAG=a flag", "FROM_FILE=a file"} {
		if !strings.Contains(text, variable) {
			t.Errorf("the guest lacks %s:\n%s", variable, text)
		}
	}
	if strings.Contains(text, "WAGI_") || strings.Contains(text, "HOSTNAME=") {
		t.Errorf("the guest has variables of the gateway:\n%s", text)
	}
}

// Volumes of the container are those of guests.
func TestVolumes(t *testing.T) {
	e := start(t, nil)
	e.guests(t)
	e.load(t, "upload")
	e.docker(t, "volume", "create", "files")
	e.run(t, "web", "upload", "--volume", "files:/data")
	machine.Await(t, func() error {
		_, err := send("PUT", home+"/files/file", strings.NewReader("kept\n"))
		return err
	})
	e.docker(t, "rm", "--force", "web")
	e.run(t, "web", "guests", "--volume", "files:/data:ro")
	want(t, home+"/file", "kept\n")
	e.docker(t, "rm", "--force", "web")

	folder := t.TempDir()
	if err := os.WriteFile(folder+"/file", []byte("of the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	e.run(t, "web", "guests", "--mount", "type=bind,source="+folder+",target=/data,readonly")
	want(t, home+"/file", "of the host\n")
	if err := os.WriteFile(folder+"/file", []byte("changed\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	want(t, home+"/file", "changed\n")
	e.docker(t, "cp", "web:/modules.toml", folder)
	if _, err := os.Stat(folder + "/modules.toml"); err != nil {
		t.Error(err)
	}
}
