// Package controller starts the signer for runs that have ended, and tells each run what
// became of it. It holds no identity that signs.
package controller

import (
	_ "k8s.io/client-go/dynamic/dynamicinformer"
	_ "k8s.io/client-go/tools/leaderelection"
)
