package hub_test

import (
	"strconv"
	"strings"
)

func decimal(n int) string { return strconv.Itoa(n) }

// number reads the offset of "bytes=123-".
func number(r string) int64 {
	n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(r, "bytes="), "-"), 10, 64)
	if err != nil {
		return -1
	}
	return n
}
