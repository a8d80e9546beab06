// Package e2e tests the whole: the built programs, as real processes, from the outside.
package e2e
