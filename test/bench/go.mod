module containerd-shim-wagi-v1/test/bench

go 1.26.6

require (
	github.com/bytecodealliance/wasmtime-go/v40 v40.0.0
	github.com/containerd/log v0.2.0 // indirect
	github.com/sirupsen/logrus v1.10.2 // indirect
	golang.org/x/net v0.61.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)

require (
	containerd-shim-wagi-v1 v0.0.0
	github.com/tetratelabs/wazero v1.12.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/google/go-containerregistry v0.22.1
	github.com/klauspost/compress v1.20.0 // indirect
	github.com/opencontainers/go-digest v1.0.0 // indirect
	github.com/opencontainers/image-spec v1.1.1 // indirect
)

replace containerd-shim-wagi-v1 => ../..
