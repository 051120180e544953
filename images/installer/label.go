//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// serviceAccount is where Kubernetes puts what a pod needs to speak to the API server.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/"

// setLabel gives the node its label or takes it away, so that pods of the runtime come only to nodes that have it.
// Outside of Kubernetes there is none. While containerd and the network come back, the API server may be out of reach.
func (n *node) setLabel(ctx context.Context, on bool) error {
	if n.label == "" {
		return nil
	}
	name := os.Getenv("NODE_NAME")
	if name == "" {
		fmt.Println("no label: NODE_NAME is not set")
		return nil
	}
	var value any // null removes it
	if on {
		value = "true"
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{n.label: value}}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := patchNode(ctx, name, patch)
		if err == nil {
			fmt.Printf("node %s: label %s is %v\n", name, n.label, value)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("label node %s: %w", name, err)
		case <-time.After(time.Second):
		}
	}
}

func patchNode(ctx context.Context, name string, patch []byte) error {
	token, err := os.ReadFile(serviceAccount + "token")
	if err != nil {
		return err
	}
	authority, err := os.ReadFile(serviceAccount + "ca.crt")
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	server := net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	request, err := http.NewRequestWithContext(ctx, http.MethodPatch, "https://"+server+"/api/v1/nodes/"+name, bytes.NewReader(patch))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+string(token))
	request.Header.Set("Content-Type", "application/merge-patch+json")
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return fmt.Errorf("%s: %s", response.Status, text)
	}
	return nil
}
