package main

import (
	"context"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

// policies judges the first packet of each connection of a pod by the cluster's network
// policies, for as long as it runs: packets come by a queue of the packet filter. A pod
// has none before the API server knows its address. The project's own command is for a
// pod, with a pod's credential. Its rules for the packet filter, which not every kernel
// takes, are not needed, as the node has some of its own: they are for pods of a node of
// another name.
func policies(kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	all := informers.NewSharedInformerFactory(client, 0)
	c, err := networkpolicy.NewController(client, all.Networking().V1().NetworkPolicies(), all.Core().V1().Namespaces(), all.Core().V1().Pods(),
		nil, nil, nil, nil, networkpolicy.Config{QueueID: 100, NodeName: "none"})
	if err != nil {
		return err
	}
	ctx := context.Background()
	all.Start(ctx.Done())
	return c.Run(ctx)
}
