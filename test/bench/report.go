//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// report collects what is measured.
type report struct {
	rows    []row
	remarks []string
	servers []*server // that were measured side by side; nil: none
}

// row is a line of the table of targets.
type row struct {
	measure string
	sign    string // how the figure should be to the target: ≤ or ≥
	target  float64
	figure  float64
	missing string // why there is no figure; empty: there is one
}

func (r row) met() bool {
	if r.sign == "≥" {
		return r.figure >= r.target
	}
	return r.figure <= r.target
}

// atMost and atLeast add rows.
func (r *report) atMost(target, figure float64, measure string) {
	r.rows = append(r.rows, row{measure: measure, sign: "≤", target: target, figure: figure})
}

func (r *report) atLeast(target, figure float64, measure string) {
	r.rows = append(r.rows, row{measure: measure, sign: "≥", target: target, figure: figure})
}

// remark adds a line below the rows.
func (r *report) remark(line string) {
	r.remarks = append(r.remarks, line)
}

func (r *report) print(w io.Writer) {
	if r.servers != nil {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "req/s\tCPU µs\tp50 µs\tp99 µs\t  server\t")
		for _, s := range r.servers {
			fmt.Fprintf(t, "%.0f\t%.1f\t%.0f\t%.0f\t  %-44s\t\n", median(s.rates), median(s.costs), median(s.p50s), median(s.p99s), s.name)
		}
		t.Flush()
		fmt.Fprintln(w)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "measure\ttarget\tfigure\t")
	for _, row := range r.rows {
		figure, verdict := fmt.Sprintf("%.3g", row.figure), "missed"
		if row.missing != "" {
			figure, verdict = "-", row.missing
		} else if row.met() {
			verdict = "ok"
		}
		fmt.Fprintf(t, "%s\t%s %g\t%s\t%s\n", row.measure, row.sign, row.target, figure, verdict)
	}
	t.Flush()
	for _, line := range r.remarks {
		fmt.Fprintln(w, line)
	}
}

func median(figures []float64) float64 {
	sorted := slices.Sorted(slices.Values(figures))
	if len(sorted) == 0 {
		return 0
	}
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// ratio is the median of the ratios of what was measured in the same round.
func ratio(a, b []float64) float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = a[i] / b[i]
	}
	return median(ratios)
}
