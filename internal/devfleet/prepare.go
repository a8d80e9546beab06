package devfleet

import (
	"os"
	"path/filepath"
)

// Prepare gives addresses to a fleet that is not there yet, and tells where its first coordinator will be: for whoever makes the data
// directory of that one in another way than by founding, as a restore does.
func Prepare(dir string, coordinators, nodes int) (data, listen, api string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", "", err
	}
	p, err := loadPorts(dir, coordinators, nodes)
	if err != nil {
		return "", "", "", err
	}
	first := p.Coordinators[0]
	return filepath.Join(dir, "coordinator-1"), first.Listen, first.API, nil
}
