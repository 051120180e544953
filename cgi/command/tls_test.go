package command

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/log"
)

// writeCertificate writes a new certificate of 127.0.0.1 and of a name, and its key, to files in dir.
func writeCertificate(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name},
		DNSNames:              []string{name},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	writeFile(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	writeFile(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
	return certFile, keyFile
}

func writeFile(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// served is the name in the certificate that a server has for a new connection.
func served(t *testing.T, url string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].DNSNames[0]
}

// awaitServed waits until it is name. What it is meanwhile must be before.
func awaitServed(t *testing.T, url, before, name string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		switch got := served(t, url); {
		case got == name:
			return
		case got != before || time.Now().After(end):
			t.Fatalf("certificate of %s, want %s", got, name)
		}
	}
}

func TestCertificateReload(t *testing.T) {
	var logged bytes.Buffer
	log.L.Logger.SetOutput(&logged)
	t.Cleanup(func() { log.L.Logger.SetOutput(os.Stderr) })
	dir := t.TempDir()
	cert, key := writeCertificate(t, dir, "first")
	s, url := startServer(t, serveOptions{tlsCert: cert, tlsKey: key})
	awaitServed(t, url, "", "first")

	writeCertificate(t, dir, "second")
	awaitServed(t, url, "first", "second")

	writeFile(t, key, []byte("no key"))
	for end := time.Now().Add(3 * certificateAge); time.Now().Before(end); {
		awaitServed(t, url, "", "second")
	}

	// As a cluster does it: the files become symbolic links to new ones.
	newCert, newKey := writeCertificate(t, t.TempDir(), "third")
	for link, target := range map[string]string{cert: newCert, key: newKey} {
		if err := os.Symlink(target, link+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link+".new", link); err != nil {
			t.Fatal(err)
		}
	}
	awaitServed(t, url, "second", "third")

	s.http.Close()
	if n := strings.Count(logged.String(), "certificate not reloaded, the old one stays"); n == 0 {
		t.Errorf("the log does not tell of the bad key:\n%s", &logged)
	}
}
