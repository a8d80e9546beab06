package fleettest

import (
	"testing"
)

// Restored makes a fleet of one coordinator whose data directory comes from elsewhere: restore makes it, for a coordinator that will
// listen on an address, and gives the admin key.
func Restored(t testing.TB, executable string, restore func(dir, listen string) (key string)) *Fleet {
	t.Helper()
	f := &Fleet{t: t, dir: t.TempDir(), block: int(blocks.Add(1))}
	first := f.add(executable)
	f.Key = restore(first.Config.Dir, first.Config.Listen)
	f.Start(first)
	Within(t, "the cluster leads", func() bool { return first.Leads() && first.Live().Now().Cluster().ID != "" })
	return f
}
