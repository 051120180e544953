package command

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/log"
)

// certificateAge is how long a certificate is served before its files are looked at again.
const certificateAge = 250 * time.Millisecond

// certificate is a certificate chain and its key in PEM files. When the files change new connections get what is in them then;
// while that does not work they get the last that did. Nothing watches: a handshake looks, at most once in certificateAge.
type certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]

	mu      sync.Mutex     // held by the handshake that looks
	looked  time.Time      // guarded by mu
	files   [2]os.FileInfo // guarded by mu: what was found then
	problem string         // guarded by mu: what was logged last; empty: the files are good
}

// loadCertificate reads the files, which must be good.
func loadCertificate(certFile, keyFile string) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, looked: time.Now()}
	if _, err := c.load(); err != nil {
		return nil, fmt.Errorf("--tls-cert %s, --tls-key %s: %w", certFile, keyFile, err)
	}
	return c, nil
}

// forClient is the GetCertificate of a [tls.Config].
func (c *certificate) forClient(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.mu.TryLock() {
		c.refresh(hello.Context())
		c.mu.Unlock()
	}
	return c.current.Load(), nil
}

// refresh is called with mu held.
func (c *certificate) refresh(ctx context.Context) {
	if time.Since(c.looked) < certificateAge {
		return
	}
	c.looked = time.Now()
	entry := log.G(ctx).WithField("file", c.certFile)
	changed, err := c.load()
	switch {
	case err != nil && err.Error() != c.problem:
		c.problem = err.Error()
		entry.WithError(err).Warn("certificate not reloaded, the old one stays")
	case changed:
		c.problem = ""
		entry.Info("certificate reloaded")
	}
}

// load reads the files if they have changed. It is called with mu held, or before there is anybody else.
func (c *certificate) load() (changed bool, err error) {
	var files [2]os.FileInfo
	for i, file := range []string{c.certFile, c.keyFile} {
		if files[i], err = os.Stat(file); err != nil {
			return false, err
		}
		changed = changed || !sameFile(files[i], c.files[i])
	}
	if !changed {
		return false, nil
	}
	c.files = files
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return false, err
	}
	c.current.Store(&pair)
	return true, nil
}
