// Command wagi is a CGI gateway whose scripts are WebAssembly modules.
package main

import "containerd-shim-wagi-v1/cgi/command"

func main() {
	command.Main()
}
