package main

import (
	"context"
	"fmt"
	"net"
	"strings"

	"dagger/step/internal/dagger"
)

// access is what a container needs to reach a registry: a tunnel to one that
// only the caller reaches, and credentials. Both may be missing.
type access struct {
	tunnel *dagger.Service
	config *dagger.Secret
}

// in gives a container what it needs to reach the place of a reference.
func (a access) in(ctx context.Context, c *dagger.Container, reference string) (*dagger.Container, error) {
	if strings.HasPrefix(reference, "oci:") {
		return c, nil
	}
	if a.config != nil {
		c = c.WithMountedSecret(secrets+"docker/config.json", a.config).
			WithEnvVariable("DOCKER_CONFIG", secrets+"docker")
	}
	host, _, _ := strings.Cut(reference, "/")
	if a.tunnel == nil {
		if loopback(host) {
			return nil, fmt.Errorf("the registry %s is on your own machine, which containers can't reach: add --tunnel tcp://%s", host, host)
		}
		return c, nil
	}
	ports, err := a.tunnel.Ports(ctx)
	if err != nil {
		return nil, err
	}
	if len(ports) != 1 {
		return nil, fmt.Errorf("the tunnel has %d ports: give it as tcp://HOST:PORT", len(ports))
	}
	port, err := ports[0].Port(ctx)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(host, ":") {
		host += ":443"
	}
	// References keep the name that the caller knows; only the connection goes
	// elsewhere.
	return c.WithServiceBinding("registry", a.tunnel).
		WithEnvVariable("PATHS_CONNECT", fmt.Sprintf("%s=registry:%d", host, port)), nil
}

func loopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
