package cgi

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// maxConfig bounds modules.toml and the files that flags name, in bytes.
const maxConfig = 1 << 20

// ReadConfigFile reads a regular file of at most 1 MiB. Others are refused: reading them may not end.
func ReadConfigFile(file string) ([]byte, error) {
	if err := checkRegular(file); err != nil {
		return nil, err
	}
	return readFile(file, maxConfig)
}

func checkRegular(file string) error {
	info, err := os.Stat(file)
	if err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", file)
	}
	return nil // to open it says what is wrong
}

// readFile reads a file of at most limit bytes.
func readFile(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var data bytes.Buffer
	if info, err := f.Stat(); err == nil && info.Size() <= limit {
		data.Grow(int(info.Size()) + bytes.MinRead) // growing by and by would leave several times as much behind
	}
	switch n, err := data.ReadFrom(io.LimitReader(f, limit+1)); {
	case err != nil:
		return nil, err
	case n > limit:
		return nil, fmt.Errorf("%s: longer than %d MiB", file, limit>>20)
	}
	return data.Bytes(), nil
}
