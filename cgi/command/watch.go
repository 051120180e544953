package command

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/log"
	"github.com/fsnotify/fsnotify"
)

const (
	lookTime   = 10 * time.Second       // between two looks at files whose folders tell nothing
	settleTime = 100 * time.Millisecond // without a change, after which files are taken to be complete
)

// fileWatch notices that files change. It compares the files themselves: a mounted ConfigMap changes by a symbolic link
// beside them. It does so when something happens in their folders and, for file systems that do not tell
// and folders that are replaced, from time to time. The zero fileWatch notices hangups alone.
type fileWatch struct {
	seen    map[string]os.FileInfo // the files as they were when last looked at; nil: not there
	folders *fsnotify.Watcher      // nil: the system gives no more of them
	events  <-chan fsnotify.Event
	errors  <-chan error // events that were lost
	ticks   <-chan time.Time
}

func newFileWatch() *fileWatch {
	w := &fileWatch{ticks: time.Tick(lookTime)}
	if folders, err := fsnotify.NewWatcher(); err != nil {
		log.L.WithError(err).Debug("folders cannot be watched")
	} else {
		w.folders, w.events, w.errors = folders, folders.Events, folders.Errors
	}
	return w
}

func (w *fileWatch) close() {
	if w.folders != nil {
		w.folders.Close()
	}
}

// watch replaces the files that are watched. Of those that were watched before, no change is lost.
func (w *fileWatch) watch(files []string) {
	before := w.seen
	w.seen = map[string]os.FileInfo{}
	for _, file := range files {
		info, ok := before[file]
		if !ok {
			info = look(file)
		}
		w.seen[file] = info
	}
	w.watchFolders()
}

// watchFolders also finds folders that are new under an old name.
func (w *fileWatch) watchFolders() {
	if w.folders == nil {
		return
	}
	folders := map[string]bool{}
	for file := range w.seen {
		folders[filepath.Dir(file)] = true
	}
	for folder := range folders {
		_ = w.folders.Add(folder) // one that is not there is found by and by
	}
}

// look is nil for a file that is not there.
func look(file string) os.FileInfo {
	info, err := os.Stat(file)
	if err != nil {
		return nil
	}
	return info
}

// sameFile says whether a file seems not to have been written or replaced between two looks.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// next waits until a file has changed, or for a hangup. It is false when ctx has ended.
func (w *fileWatch) next(ctx context.Context, hangups <-chan os.Signal) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-hangups:
			w.changed(ctx)
			return true
		case <-w.events:
		case <-w.errors:
		case <-w.ticks:
			w.watchFolders()
		}
		if w.changed(ctx) {
			return true
		}
	}
}

// changed waits until the files no longer change and says whether they have since it was last called.
func (w *fileWatch) changed(ctx context.Context) bool {
	before := w.seen
	for {
		w.settle(ctx)
		now := map[string]os.FileInfo{}
		for file := range w.seen {
			now[file] = look(file)
		}
		if maps.EqualFunc(now, before, sameFile) {
			changed := !maps.EqualFunc(now, w.seen, sameFile)
			w.seen = now
			return changed
		}
		before = now
	}
}

// settle lets time pass, and events with it.
func (w *fileWatch) settle(ctx context.Context) {
	quiet := time.After(settleTime)
	for {
		select {
		case <-ctx.Done():
			return
		case <-quiet:
			return
		case <-w.events:
		case <-w.errors:
		}
	}
}
