//go:build linux

package main

import (
	"embed"
	"math"
	"os"
	"text/template"
)

//go:embed plot.svg
var plotFile embed.FS

// bar is a line of the plot.
type bar struct {
	Name  string
	Y     int
	Width float64
	Cost  float64 // CPU of a request, µs
	Rate  float64 // requests/s
}

// plot draws what a request costs each of the servers, on a logarithmic scale.
func (b *bench) plot(file string) error {
	drawing, err := template.ParseFS(plotFile, "plot.svg")
	if err != nil {
		return err
	}
	var bars []bar
	for i, s := range b.servers {
		cost := median(s.costs)
		bars = append(bars, bar{s.name, 40 + 26*i, 100 * math.Log10(max(cost, 1)), cost, median(s.rates)})
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return drawing.Execute(f, map[string]any{"Bars": bars, "Height": 50 + 26*len(bars)})
}
