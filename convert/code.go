package convert

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// code refuses a folder in which any settings want code to be run: config.json, tokenizer_config.json, generation_config.json and others,
// wherever they are and whatever of them the version uses.
func (r *reading) code() error {
	for _, name := range slices.Sorted(maps.Keys(r.files)) {
		if file := path.Base(name); file != "config.json" && !strings.HasSuffix(file, "_config.json") {
			continue
		}
		s, err := r.settings(name, MaxConfig)
		if err != nil {
			return err
		}
		if s.refuseCode(); s.err() != nil {
			return s.err()
		}
	}
	return nil
}
