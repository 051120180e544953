package cgi

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/log"
)

// Reloader serves by a Gateway that can be replaced while requests run. Each request ends on the gateway on which it began,
// which is closed when its last request has ended. Its methods may be called at the same time.
type Reloader struct {
	current   atomic.Pointer[generation] // nil: closed
	draining  atomic.Bool
	reloading sync.Mutex // one Reload at a time
}

// generation is a gateway for as long as it is used.
type generation struct {
	*Gateway
	users atomic.Int64 // requests and, while it is the current one, the Reloader; it is closed at 0 and stays so
}

// NewReloader makes the first gateway. Its error is what is quickly found to be wrong with the modules; what else is, Wait says. Meanwhile
// the modules are compiled: the Reloader serves each as soon as it is ready. The caller closes the Reloader.
func NewReloader(ctx context.Context, cfg Config) (*Reloader, error) {
	gateway, err := startGateway(ctx, cfg, nil)
	if err != nil {
		return nil, err
	}
	r := &Reloader{}
	r.replace(nil, gateway)
	return r, nil
}

// Wait waits until all modules of the first gateway are ready and logs its warnings. Its error is that of [New].
func (r *Reloader) Wait(ctx context.Context) error {
	g := r.acquire()
	if g == nil {
		return http.ErrServerClosed
	}
	defer g.release()
	if err := g.wait(); err != nil {
		return err
	}
	g.logWarnings(ctx)
	return nil
}

// Reload replaces the gateway by one of cfg, once its modules are ready, and logs what has changed. Modules of equal content
// are not compiled again if their guests may do the same. After an error the gateway is what it was; it is [http.ErrServerClosed]
// after Close.
func (r *Reloader) Reload(ctx context.Context, cfg Config) error {
	r.reloading.Lock()
	defer r.reloading.Unlock()
	old := r.acquire()
	if old == nil {
		return http.ErrServerClosed
	}
	defer old.release()
	if err := old.wait(); err != nil {
		return err
	}
	begun := time.Now()
	gateway, err := newGateway(ctx, cfg, old.compiler.byContent())
	if err != nil {
		return err
	}
	if !r.replace(old, gateway) {
		return errors.Join(http.ErrServerClosed, gateway.Close())
	}
	old.release() // by the Reloader
	gateway.logWarnings(ctx)
	added, removed := gateway.compare(old.Gateway)
	log.G(ctx).WithFields(log.Fields{
		"file": cfg.File, "routes": len(gateway.Routes()), "added": added, "removed": removed,
		"compiled": gateway.compiler.fresh.Load(), "duration": time.Since(begun),
	}).Info("configuration reloaded")
	return nil
}

// replace makes gateway the current one unless old is not, which it says.
func (r *Reloader) replace(old *generation, gateway *Gateway) bool {
	next := &generation{Gateway: gateway}
	next.users.Store(1)
	if !r.current.CompareAndSwap(old, next) {
		return false
	}
	if r.draining.Load() {
		gateway.Drain()
	}
	return true
}

func (g *Gateway) logWarnings(ctx context.Context) {
	for _, warning := range g.Warnings() {
		log.G(ctx).WithField("warning", warning).Warn("configuration")
	}
}

// ServeHTTP serves by the current gateway, see [Gateway.ServeHTTP].
func (r *Reloader) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	g := r.acquire()
	if g == nil {
		w.Header().Set("Connection", "close") // else net/http would wait for the body first
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer g.release()
	g.ServeHTTP(w, request)
}

// acquire gives the current gateway to a user, who releases it. It returns nil once the Reloader is closed.
func (r *Reloader) acquire() *generation {
	for g := r.current.Load(); g != nil; g = r.current.Load() {
		for n := g.users.Load(); n > 0; n = g.users.Load() {
			if g.users.CompareAndSwap(n, n+1) {
				return g
			}
		}
	}
	return nil
}

func (g *generation) release() {
	if g.users.Add(-1) > 0 {
		return
	}
	if err := g.Close(); err != nil {
		log.L.WithError(err).Warn("gateway did not close")
	}
}

// Drain makes this gateway and all later ones report that they are not ready. They go on serving.
func (r *Reloader) Drain() {
	r.draining.Store(true)
	if g := r.acquire(); g != nil {
		defer g.release()
		g.Drain()
	}
}

// Close ends the Reloader: it answers 503 from now on. The last request that runs frees the modules.
func (r *Reloader) Close() {
	if old := r.current.Swap(nil); old != nil {
		old.release()
	}
}

// compare counts the routes that g has and older has not, and the reverse. Where they are configured is no matter.
func (g *Gateway) compare(older *Gateway) (added, removed int) {
	count := map[Route]int{}
	for _, r := range g.Routes() {
		r.Position = ""
		count[r]++
	}
	for _, r := range older.Routes() {
		r.Position = ""
		count[r]--
	}
	for _, n := range count {
		added += max(n, 0)
		removed += max(-n, 0)
	}
	return added, removed
}
