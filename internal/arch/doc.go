// Package arch holds no code: its test keeps the layers of ARCHITECTURE.md true.
package arch
