package command

import (
	"context"
	"os"

	"github.com/containerd/log"

	"containerd-shim-wagi-v1/cgi"
)

// keepUp reloads the gateway when a watched file changes and at each hangup, until ctx ends.
func (o *serveOptions) keepUp(ctx context.Context, gateway *cgi.Reloader, watch *fileWatch, hangups <-chan os.Signal) {
	defer watch.close()
	for watch.next(ctx, hangups) {
		if err := o.reload(ctx, gateway, watch); err != nil && ctx.Err() == nil {
			log.G(ctx).WithError(err).Error("configuration not reloaded, the old one goes on")
		}
		settleHeap()
	}
}

// reload reads everything again that the flags name.
func (o *serveOptions) reload(ctx context.Context, gateway *cgi.Reloader, watch *fileWatch) error {
	cfg, err := o.load()
	if err != nil {
		return err
	}
	watch.watch(cfg.Files())
	return gateway.Reload(ctx, *cfg)
}
