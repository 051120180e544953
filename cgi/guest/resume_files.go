package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// openAtPoint is a descriptor that is open at the resume point. Each guest gets one like it: a stream of its own call, a
// directory, or the file that then has the path, opened in the same way and at the same offset.
type openAtPoint struct {
	*descriptor        // as the first guest had it; nil: the number is free
	stream      int    // 0 to 2; -1: it is none
	flag        int    // of os.OpenFile
	offset      int64  // of the file
	preopen     string // of the directory
}

// recordOpen notes what the first guest has open, and sees whether it can be opened again.
func (r *resumption) recordOpen(g *guest) error {
	for _, d := range g.descriptors {
		o := openAtPoint{descriptor: d, stream: g.streamNumber(d)}
		if d != nil && d.dir != nil {
			o.preopen = d.dir.preopen
		}
		if d != nil && d.file != nil {
			var err error
			if o.offset, err = d.file.Seek(0, io.SeekCurrent); err != nil {
				return err
			}
			o.flag = d.openFlag()
		}
		r.open = append(r.open, o)
	}
	probe := r.module.newBareGuest(g.ctx, &Call{})
	defer probe.close()
	return r.thaw(probe)
}

func (g *guest) streamNumber(d *descriptor) int {
	for n := range g.streams {
		if d == &g.streams[n] {
			return n
		}
	}
	return -1
}

// openFlag is with what a file is opened in the way that it is open.
func (d *descriptor) openFlag() int {
	flag := os.O_RDONLY
	switch {
	case d.reader != nil && d.writer != nil:
		flag = os.O_RDWR
	case d.writer != nil:
		flag = os.O_WRONLY
	}
	return flag | openFlags(0, rightsRead, uint32(d.flags))
}

// thaw gives a guest the descriptors of the resume point. A directory whose volume is missing is closed.
func (r *resumption) thaw(g *guest) error {
	volumes := make([]*volume, len(r.module.config.Volumes))
	if !g.call.NoVolumes {
		for n := range volumes {
			if slices.ContainsFunc(r.open, func(o openAtPoint) bool { return o.in(n) }) {
				volumes[n] = g.openVolume(r.module, n)
			}
		}
	}
	g.descriptors = g.table[:0]
	for _, o := range r.open {
		d, err := o.thaw(g, volumes)
		if err != nil {
			return fmt.Errorf("file %q, open at the resume point, cannot be opened again: %w", o.path, err)
		}
		g.descriptors = append(g.descriptors, d)
	}
	return nil
}

// in says whether the descriptor is in the volume of that number.
func (o openAtPoint) in(volume int) bool {
	return o.descriptor != nil && o.volume != nil && o.volume.number == volume
}

func (o openAtPoint) thaw(g *guest, volumes []*volume) (*descriptor, error) {
	switch {
	case o.descriptor == nil:
		return nil, nil
	case o.stream >= 0:
		return &g.streams[o.stream], nil
	case o.device:
		return &descriptor{device: true, dir: &directory{preopen: o.preopen}, path: o.path}, nil
	}
	v := volumes[o.volume.number]
	switch {
	case v == nil && o.file == nil:
		return nil, nil
	case v == nil:
		return nil, errors.New("its volume is missing")
	case o.file == nil:
		return &descriptor{volume: v, dir: &directory{preopen: o.preopen}, path: o.path}, nil
	}
	return o.reopen(v)
}

func (o openAtPoint) reopen(v *volume) (*descriptor, error) {
	d, err := v.open(o.path, true, o.flag)
	switch {
	case err == errnoNotsup:
		return nil, errors.New("it is a pipe or a socket now")
	case err != nil:
		return nil, err
	}
	d.flags = o.flags
	if d.file == nil {
		return nil, errors.New("it is a directory now")
	}
	if _, err := d.file.Seek(o.offset, io.SeekStart); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}
