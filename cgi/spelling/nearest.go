// Package spelling finds the word that was meant by one that nobody knows.
package spelling

import "iter"

// Nearest is the known word with the fewest letters changed from word, the first by alphabet of several; "" if none is similar.
func Nearest(word string, known iter.Seq[string]) (best string) {
	const longest = 40
	if len(word) > longest {
		return ""
	}
	fewest := 1 + len(word)/3
	for k := range known {
		d := distance(word, k)
		if d < fewest || d == fewest && k < best {
			best, fewest = k, d
		}
	}
	return best
}

// distance counts the letters to add, drop or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
