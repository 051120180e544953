// Command resume is a guest that does something before its resume point, and shows after it what is left of that.
package main

import (
	"bufio"
	crand "crypto/rand"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

var early = time.Now()

func main() {
	record, err := os.OpenFile("/data/starts", os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	check(err)
	fmt.Fprintln(record, "started")
	lines, err := os.Open("/data/lines")
	check(err)
	first := make([]byte, 6)
	_, err = io.ReadFull(lines, first)
	check(err)
	names, err := os.ReadDir("/dev/wagi")
	check(err)
	info, err := os.Stat("/dev/wagi/request")
	check(err)
	if info.Size() != 0 || !info.Mode().IsRegular() || len(names) != 1 || names[0].Name() != "request" {
		panic(fmt.Sprint(info, names))
	}
	if _, err := os.Create("/dev/wagi/request"); err == nil {
		panic("the request can be written to")
	}
	time.Sleep(time.Millisecond)
	fmt.Fprintln(os.Stderr, "starting with", os.Args, os.Getenv("CONFIGURED"))

	request, err := os.ReadFile("/dev/wagi/request") // the resume point
	check(err)

	variables, args, _ := strings.Cut(string(request), "\n\n")
	fmt.Printf("variables %q arguments %q\n", variables, args)
	second, err := bufio.NewReader(lines).ReadString('\n')
	check(err)
	body, err := io.ReadAll(os.Stdin)
	check(err)
	fmt.Printf("%q %q %q\n", first, second, body)
	if since := time.Since(early); since < time.Millisecond || since > time.Hour {
		panic(since)
	}
	fmt.Fprintln(record, "request")
	fmt.Println("random", crand.Text())
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
