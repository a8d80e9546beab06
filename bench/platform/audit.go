package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/skein-project/skein/audit"
	"github.com/skein-project/skein/audit/journal"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/internal/benchfile"
	"github.com/skein-project/skein/wire"
)

// auditRecords are written and verified in a round.
const auditRecords = 20_000

// audit measures the records of changes: made and appended to the files of a coordinator, and verified.
func (b *bench) audit(ctx context.Context) (benchfile.Section, error) {
	s := benchfile.Section{Title: "The audit log", How: []string{
		fmt.Sprintf("%d records of new keys: made, chained and appended to a coordinator's files one at a time, then synced (a coordinator syncs with its snapshots);", auditRecords),
		"and read back and verified against the head. Per second of processor time."}}
	var appended, verified benchfile.Series
	for n := range b.rounds {
		if err := ctx.Err(); err != nil {
			return s, err
		}
		dir := filepath.Join(b.dir, fmt.Sprintf("audit-%d", n))
		var head audit.Head
		took, err := busy(func() (err error) { head, err = writeRecords(dir); return err })
		if err != nil {
			return s, err
		}
		appended.Add(auditRecords / took.Seconds())
		if took, err = busy(func() error { return verify(dir, head) }); err != nil {
			return s, err
		}
		verified.Add(auditRecords / took.Seconds())
	}
	s.Records = []benchfile.Record{appended.Record("audit/append", "records/s", benchfile.Higher, ""), verified.Record("audit/verify", "records/s", benchfile.Higher, "")}
	return s, nil
}

// writeRecords makes and appends records as a coordinator does that applies entries.
func writeRecords(dir string) (head audit.Head, err error) {
	j, err := journal.Open(dir)
	if err != nil {
		return head, err
	}
	defer j.Close()
	for n := range uint64(auditRecords) {
		name := fmt.Sprintf("sk-%d", n)
		do, err := json.Marshal(cluster.PutKey{Key: cluster.Key{ID: name, Hash: wire.SecretHash(name)}})
		if err != nil {
			return head, err
		}
		record, err := audit.Record{Seq: head.Seq + 1, At: int64(start), Index: 2 + n, By: askedBy, Request: "req-0123456789abcdef",
			Commands: fmt.Appendf(nil, `[{"t":"put_key","v":2,"do":%s}]`, do), Outcome: audit.Applied}.Encode()
		if err != nil {
			return head, err
		}
		if err := j.Append(head, [][]byte{record}); err != nil {
			return head, err
		}
		head = head.Next(record)
	}
	return head, j.Sync()
}

func verify(dir string, head audit.Head) error {
	j, err := journal.Open(dir)
	if err != nil {
		return err
	}
	defer j.Close()
	var lines bytes.Buffer
	if err := j.Read(1, func(b []byte) error { lines.Write(b); return nil }); err != nil {
		return err
	}
	got, err := audit.Verify(audit.Head{}, audit.Lines(&lines))
	if err != nil {
		return err
	}
	return audit.Compare(got, head)
}
