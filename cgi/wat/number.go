package wat

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

var (
	errNumber = errors.New("malformed number")
	errRange  = errors.New("number out of range")
)

func isDigit(c byte, hex bool) bool {
	return '0' <= c && c <= '9' || hex && ('a' <= c|0x20 && c|0x20 <= 'f')
}

// digits returns s without its underscores, each of which must stand between
// two digits. It must start with a digit; what follows the first is not
// checked.
func digits(s string, hex bool) (string, error) {
	if s == "" || !isDigit(s[0], hex) {
		return "", errNumber
	}
	if strings.IndexByte(s, '_') < 0 {
		return s, nil
	}
	plain := make([]byte, 0, len(s))
	for i := range len(s) {
		if s[i] != '_' {
			plain = append(plain, s[i])
		} else if i+1 == len(s) || !isDigit(s[i-1], hex) || !isDigit(s[i+1], hex) {
			return "", errNumber
		}
	}
	return string(plain), nil
}

// cutSign splits the sign off s.
func cutSign(s string) (magnitude string, negative bool) {
	if strings.HasPrefix(s, "+") {
		return s[1:], false
	}
	return strings.CutPrefix(s, "-")
}

// parseUint reads an integer without sign, decimal or hexadecimal with 0x.
func parseUint(s string, bits int) (uint64, error) {
	base := 10
	s, hex := strings.CutPrefix(s, "0x")
	if hex {
		base = 16
	}
	s, err := digits(s, hex)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(s, base, bits)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, errRange
	case err != nil:
		return 0, errNumber
	}
	return n, nil
}

// parseInt reads an integer that is either signed or unsigned, and returns its
// two's complement, sign-extended to 64 bits.
func parseInt(s string, bits int) (int64, error) {
	s, negative := cutSign(s)
	n, err := parseUint(s, bits)
	if err != nil {
		return 0, err
	}
	unused := 64 - bits
	if !negative {
		return int64(n<<unused) >> unused, nil
	}
	if n > 1<<(bits-1) {
		return 0, errRange
	}
	return -int64(n), nil
}

// parseFloat reads a float of 32 or 64 bits and returns its IEEE 754 bits.
func parseFloat(s string, bits int) (uint64, error) {
	s, negative := cutSign(s)
	f, err := parseMagnitude(s, bits)
	if negative {
		f |= 1 << (bits - 1)
	}
	return f, err
}

func parseMagnitude(s string, bits int) (uint64, error) {
	if s == "inf" {
		return floatBits(math.Inf(1), bits), nil
	}
	if payload, ok := strings.CutPrefix(s, "nan"); ok {
		return parseNaN(payload, bits)
	}
	s, hex := strings.CutPrefix(s, "0x")
	s, err := digits(s, hex)
	if err != nil {
		return 0, err
	}
	switch {
	case hex && !strings.ContainsAny(s, "pP"):
		s = "0x" + s + "p0"
	case hex:
		s = "0x" + s
	case strings.ContainsAny(s, "xX"):
		return 0, errNumber
	}
	f, err := strconv.ParseFloat(s, bits)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, errRange
	case err != nil:
		return 0, errNumber
	}
	return floatBits(f, bits), nil
}

// parseNaN reads what follows "nan": nothing or a payload as ":0x1234".
func parseNaN(payload string, bits int) (uint64, error) {
	fraction := 52
	if bits == 32 {
		fraction = 23
	}
	infinity := floatBits(math.Inf(1), bits)
	if payload == "" {
		return infinity | 1<<(fraction-1), nil
	}
	if !strings.HasPrefix(payload, ":0x") {
		return 0, errNumber
	}
	n, err := parseUint(payload[1:], 64)
	if err != nil {
		return 0, err
	}
	if n == 0 || n >= 1<<fraction {
		return 0, errRange
	}
	return infinity | n, nil
}

func floatBits(f float64, bits int) uint64 {
	if bits == 32 {
		return uint64(math.Float32bits(float32(f)))
	}
	return math.Float64bits(f)
}
