package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/skein-project/skein/results"
	disk "github.com/skein-project/skein/results/spool"
	"github.com/skein-project/skein/wire"
)

// folders are where a destination's records wait, within the folder of the spool. Each destination has a spool of its own, with a limit of its own.
var folders = []struct {
	to     results.Destination
	folder string
}{{results.Database, "."}, {results.Bucket, "bucket"}}

// lane is the way of records to one destination. One that takes none, or is slow, holds up no other's.
type lane struct {
	k     *keeping
	to    results.Destination
	spool *disk.Spool
	news  chan struct{} // capacity 1: something was written

	// What was sent and not acknowledged is sent again as it was, so that what takes it can tell that it has it.
	batch []json.RawMessage
	end   disk.Position // of batch
}

// openLanes opens the spools of all destinations, of at most max bytes each.
func openLanes(k *keeping, max int64, log *slog.Logger) (out []*lane, err error) {
	for _, f := range folders {
		sp, err := disk.Open(disk.Config{Dir: filepath.Join(k.Dir, f.folder), Max: max}, log)
		if err != nil {
			for _, l := range out {
				err = errors.Join(err, l.spool.Close())
			}
			return nil, err
		}
		out = append(out, &lane{k: k, to: f.to, spool: sp, news: make(chan struct{}, 1)})
	}
	return out, nil
}

// write puts records into the spool and makes them safe.
func (l *lane) write(payloads [][]byte) {
	if len(payloads) == 0 {
		return
	}
	n, err := l.spool.Append(payloads)
	if failed := l.spool.Sync(); failed != nil {
		n, err = 0, failed
	}
	if err != nil {
		l.k.r.droppedFull.Add(uint64(len(payloads) - n))
		if !errors.Is(err, disk.ErrFull) {
			l.k.s.log.Error("records are not kept", "to", l.to, "records", len(payloads)-n, "err", err)
		}
	}
	if n == 0 {
		return
	}
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// send brings records from the spool to where they are kept, until ctx ends.
func (l *lane) send(ctx context.Context) {
	pause := keepRetry
	for {
		sent, err := l.sendOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			l.k.s.log.Warn("records wait in the spool", "to", l.to, "err", err, "records", l.spool.Stats().Records)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
			pause = min(2*pause, keepRest)
			continue
		}
		if pause = keepRetry; sent {
			continue
		}
		select {
		case <-l.news:
		case <-ctx.Done():
			return
		}
	}
}

// sendOnce sends the oldest records. What is not acknowledged is sent again.
func (l *lane) sendOnce(ctx context.Context) (sent bool, err error) {
	if len(l.batch) == 0 {
		payloads, end, err := l.spool.Next(keepRecords, keepBytes)
		if err != nil || len(payloads) == 0 {
			return false, err
		}
		for _, p := range payloads {
			l.batch = append(l.batch, p)
		}
		l.end = end
	}
	ctx, cancel := context.WithTimeout(ctx, keepWait)
	defer cancel()
	res, err := l.k.Keeper.Keep(ctx, &wire.KeepRequest{Records: l.batch})
	if err != nil {
		return false, err
	}
	n := len(l.batch)
	l.batch = nil
	l.k.r.kept.Add(uint64(max(0, n-res.Refused)))
	l.k.r.refused.Add(uint64(max(0, res.Refused)))
	return true, l.spool.Ack(l.end, n)
}

// stats counts what waits for any destination. Bytes are those of the fullest spool, since each has room of its own.
func (k *keeping) stats() (out disk.Stats) {
	for _, l := range k.lanes {
		st := l.spool.Stats()
		out.Records += st.Records
		out.Damaged += st.Damaged
		out.Bytes, out.Max = max(out.Bytes, st.Bytes), st.Max
	}
	return out
}
