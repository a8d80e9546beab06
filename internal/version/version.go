// Package version holds the version that this program was built as.
package version

// Version is set by the linker.
var Version = "dev"
