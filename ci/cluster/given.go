package main

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/clientcmd"
)

// hasTekton checks that a cluster answers, and has Tekton.
func hasTekton(kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.Timeout = 20 * time.Second
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	if _, err := client.ServerVersion(); err != nil {
		return fmt.Errorf("it does not answer: %w", err)
	}
	resources, err := client.ServerResourcesForGroupVersion("tekton.dev/v1")
	if err != nil {
		return fmt.Errorf("it has no Tekton: %w", err)
	}
	for _, r := range resources.APIResources {
		if r.Kind == "PipelineRun" {
			return nil
		}
	}
	return errors.New("it has no Tekton Pipelines")
}
