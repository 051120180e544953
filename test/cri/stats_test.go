//go:build linux

package cri

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"containerd-shim-wagi-v1/test/machine"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var statsCases = []validation{
	{"stats/container", testContainerStats},
	{"stats/list", testListContainerStats},
	{"stats/pod", testPodStats},
	{"stats/events", testEvents},
	{"stats/features", testFeatures},
}

// busy uses a CPU, keeps 20 MiB of memory and writes 1 MiB into the container's layer.
const busy = "head -c 1000000 /dev/urandom > /file; head -c 20000000 /dev/zero > /dev/shm/file; while :; do :; done"

// used tells whether the figures of such a container are plausible.
func used(cpu *runtimeapi.CpuUsage, memory *runtimeapi.MemoryUsage) error {
	if n := cpu.GetUsageCoreNanoSeconds().GetValue(); n < 100e6 {
		return fmt.Errorf("%d ns of CPU", n)
	}
	if n := memory.GetWorkingSetBytes().GetValue(); n < 20e6 || n > 200e6 {
		return fmt.Errorf("%d bytes of memory", n)
	}
	return nil
}

func testContainerStats(t *testing.T, h host) {
	c := h.pod(t).run(t, shell(busy))
	machine.Await(t, func() error {
		r, err := c.ContainerStats(t.Context(), &runtimeapi.ContainerStatsRequest{ContainerId: c.id})
		if err != nil {
			return err
		}
		if n := r.Stats.GetWritableLayer().GetUsedBytes().GetValue(); n < 1000000 {
			return fmt.Errorf("%d bytes in the layer", n)
		}
		if a := r.Stats.Attributes; a.Id != c.id || a.Metadata.Name != c.config.Metadata.Name || a.Labels["container"] == "" {
			return fmt.Errorf("attributes %v", a)
		}
		return used(r.Stats.Cpu, r.Stats.Memory)
	})
}

func testListContainerStats(t *testing.T, h host) {
	p := h.pod(t)
	a, b := p.run(t), p.run(t)
	for _, f := range []struct {
		filter *runtimeapi.ContainerStatsFilter
		want   []string
	}{
		{&runtimeapi.ContainerStatsFilter{PodSandboxId: p.id}, []string{a.id, b.id}},
		{&runtimeapi.ContainerStatsFilter{Id: a.id}, []string{a.id}},
		{&runtimeapi.ContainerStatsFilter{LabelSelector: b.config.Labels}, []string{b.id}},
	} {
		r, err := h.ListContainerStats(t.Context(), &runtimeapi.ListContainerStatsRequest{Filter: f.filter})
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, s := range r.Stats {
			ids = append(ids, s.Attributes.Id)
		}
		slices.Sort(ids)
		slices.Sort(f.want)
		if !slices.Equal(ids, f.want) {
			t.Errorf("%v: got %q, want %q", f.filter, ids, f.want)
		}
	}
}

func testPodStats(t *testing.T, h host) {
	p := h.pod(t)
	c := p.run(t, shell(busy))
	machine.Await(t, func() error {
		r, err := p.PodSandboxStats(t.Context(), &runtimeapi.PodSandboxStatsRequest{PodSandboxId: p.id})
		if err != nil {
			return err
		}
		stats := r.Stats.GetLinux()
		if n := stats.GetProcess().GetProcessCount().GetValue(); n < 1 {
			return fmt.Errorf("%d processes", n)
		}
		if stats.GetNetwork().GetDefaultInterface().GetName() != "eth0" {
			return fmt.Errorf("network %v", stats.GetNetwork())
		}
		if len(stats.Containers) != 1 || stats.Containers[0].Attributes.Id != c.id {
			return fmt.Errorf("containers %v", stats.Containers)
		}
		return used(stats.Containers[0].Cpu, stats.Containers[0].Memory)
	})
}

func testEvents(t *testing.T, h host) {
	ctx, cancel := context.WithTimeout(t.Context(), machine.Patience)
	defer cancel()
	events, err := h.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	h.pod(t) // The stream may start after the call has returned, but not after this.
	p := h.pod(t)
	c := p.run(t, shell("exit 3"))
	got := map[string][]string{}
	await := func(id string, n int) { // a state is seen before its event is sent
		for len(got[id]) < n {
			e, err := events.Recv()
			if err != nil {
				t.Fatalf("%v; so far %v", err, got)
			}
			got[e.ContainerId] = append(got[e.ContainerId], e.ContainerEventType.String())
		}
	}
	await(c.id, 3)
	c.remove(t)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	await(p.id, 3)
	if err := p.remove(); err != nil {
		t.Fatal(err)
	}
	await(c.id, 4)
	await(p.id, 4)
	want := []string{"CONTAINER_CREATED_EVENT", "CONTAINER_STARTED_EVENT", "CONTAINER_STOPPED_EVENT", "CONTAINER_DELETED_EVENT"}
	for name, id := range map[string]string{"pod": p.id, "container": c.id} {
		if !slices.Equal(got[id], want) {
			t.Errorf("%s: got %q, want %q", name, got[id], want)
		}
	}
}

func testFeatures(t *testing.T, h host) {
	features := h.features(t)
	if got, want := features[h.handler].String(), features[runc].String(); got != want {
		t.Errorf("got %s, runc has %s", got, want)
	}
}

// features are those of each handler, as far as the release knows of them.
func (h host) features(t *testing.T) map[string]*runtimeapi.RuntimeHandlerFeatures {
	t.Helper()
	r, err := h.Status(t.Context(), &runtimeapi.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	features := map[string]*runtimeapi.RuntimeHandlerFeatures{}
	for _, handler := range r.RuntimeHandlers {
		features[handler.Name] = handler.Features
	}
	return features
}
