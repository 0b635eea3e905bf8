// Command paths-controller starts the signer for each PipelineRun that has ended, and
// tells the run what became of it.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"github.com/pavedpaths/paths/tekton/controller"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:]); {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.As(err, new(usageError)):
		fmt.Fprintf(os.Stderr, "paths-controller: %v\nSee paths-controller --help\n", err)
		os.Exit(2)
	default:
		fmt.Fprintf(os.Stderr, "paths-controller: %v\n", err)
		os.Exit(1)
	}
}

type usageError struct{ error }

type options struct {
	controller.Config
	listen, kubeconfig, identity string
	qps                          float64
	debug                        bool
}

func parse(args []string) (*options, error) {
	var o options
	fs := flag.NewFlagSet("paths-controller", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "paths-controller starts the signer for each PipelineRun of a build namespace that has\nended, and tells the run what became of it.\n\nFlags:")
		fs.PrintDefaults()
	}
	o.Flags(fs)
	fs.StringVar(&o.listen, "listen", ":8080", "`address` of /metrics, /healthz and /readyz")
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` that says how to reach the API server; empty: as the pod's ServiceAccount")
	fs.StringVar(&o.identity, "identity", "", "`name` of this replica in the Lease; empty: the host's name")
	fs.Float64Var(&o.qps, "qps", 50, "requests a second to the API server, at most")
	fs.BoolVar(&o.debug, "debug", false, "log more")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, usageError{err}
	}
	if fs.NArg() > 0 {
		return nil, usageError{fmt.Errorf("unexpected argument %q", fs.Arg(0))}
	}
	if err := o.Check(); err != nil {
		return nil, usageError{err}
	}
	if o.qps <= 0 {
		return nil, usageError{errors.New("--qps must be more than 0")}
	}
	return &o, nil
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if o.debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	klog.SetSlogLogger(log.With("from", "client-go"))

	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	kube, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return fmt.Errorf("find the API server: %w; run in a pod with a ServiceAccount token, or set --kubeconfig", err)
	}
	kube.QPS, kube.Burst = float32(o.qps), int(2*o.qps)
	kube.UserAgent = "paths-controller"
	kube.Wrap(controller.CountRequests(reg))
	client, err := dynamic.NewForConfig(kube)
	if err != nil {
		return fmt.Errorf("set up the client: %w", err)
	}
	c := controller.New(client, log, reg, o.Config)
	return lead(ctx, o, kube, log, reg, c)
}

// lead serves health and metrics, and runs the controller while this replica leads.
func lead(ctx context.Context, o *options, kube *rest.Config, log *slog.Logger, reg *prometheus.Registry, c *controller.Controller) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("name this replica: %w; set --identity", err)
	}
	// The Lease has a client of its own: requests that wait for their turn must not cost
	// the lead.
	leases := rest.CopyConfig(kube)
	leases.QPS, leases.Burst = 5, 10
	lease, err := coordination.NewForConfig(leases)
	if err != nil {
		return fmt.Errorf("set up the client: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var leads atomic.Bool
	watchdog := leaderelection.NewLeaderHealthzAdaptor(20 * time.Second)
	done := make(chan struct{})
	var ran error
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: controller.SystemNamespace, Name: "paths-controller"},
			Client:     lease,
			LockConfig: resourcelock.ResourceLockConfig{Identity: cmp.Or(o.identity, host)},
		},
		LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		// The next may begin before this one's last request is answered: two at once do
		// no harm.
		ReleaseOnCancel: true,
		WatchDog:        watchdog,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				defer close(done)
				leads.Store(true)
				if ran = c.Run(ctx); ran != nil {
					cancel(ran)
				}
			},
			OnStoppedLeading: func() {
				cancel(errors.New("the lead is lost: another replica has it, or the API server was out of reach; this one must start anew"))
			},
		},
	})
	if err != nil {
		return fmt.Errorf("set up the Lease: %w", err)
	}

	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { answer(w, watchdog.Check(r)) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		// A replica that waits for the lead is as ready as it can be.
		if leads.Load() && !c.Ready() {
			answer(w, errors.New("the cluster's state is still being read"))
			return
		}
		answer(w, nil)
	})
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listen: %w; set --listen to a free address", err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second}
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			cancel(fmt.Errorf("serve: %w", err))
		}
	}()
	elector.Run(ctx) // until the context is done, or the lead is lost
	if leads.Load() {
		<-done
	}
	stopped := context.Cause(ctx)
	_ = server.Close()
	if errors.Is(stopped, context.Canceled) {
		return nil
	}
	return stopped
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}
