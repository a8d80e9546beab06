package coordinator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"connectrpc.com/connect"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/model"
	"github.com/skein-project/skein/shard"
	"github.com/skein-project/skein/wire"
)

// What a converter may answer, in bytes.
const (
	maxManifest = 64 << 20
	maxAnswer   = 2 * (maxManifest + model.MaxFileLen)
)

// BeginBlob announces a blob and tells which of its chunks are missing.
func (s *Server) BeginBlob(x blob.Index) (missing []int, err error) { return s.blobs.Begin(x) }

// WriteChunk takes a chunk of a blob that was announced.
func (s *Server) WriteChunk(d blob.Digest, chunk int, data []byte) error {
	return s.blobs.WriteChunk(d, chunk, data)
}

// ReadBlob reads a small range of a blob, from another coordinator if it is not here.
func (s *Server) ReadBlob(ctx context.Context, ref blob.Ref) ([]byte, error) {
	if s.blobs.Have(ref) {
		return s.blobs.Read(ref)
	}
	if err := s.bring(ctx, s.otherAddrs(), ref.Digest, ref); err != nil {
		return nil, err
	}
	return s.blobs.Read(ref)
}

// BlobSize is the size of a blob in bytes, wherever it is.
func (s *Server) BlobSize(ctx context.Context, d blob.Digest) (int64, error) {
	if st, err := s.blobs.Stat(d); err == nil {
		return st.Size, nil
	}
	x, err := s.BlobIndex(ctx, d)
	return x.Size, err
}

func (s *Server) otherAddrs() []string {
	var out []string
	for _, m := range s.others() {
		out = append(out, m.Addr)
	}
	return out
}

// Publish makes a version of files that were uploaded: it converts them, copies every blob to another coordinator, and commits.
// owner is the tenant whose models alone the asker may change, "" = all: a new model becomes that tenant's in the same transaction. A name
// that owner may not use is refused in the same words whoever has it, and whether there is anything under it now: names are visible when they
// are taken, nothing else is.
// accept takes a version whose trial fails too. step is told what is done, for people. Errors: convert.Refused, *cluster.Rejected, *wire.Refused, blob errors.
func (s *Server) Publish(ctx context.Context, asker cluster.Asker, owner, name string, files map[string]blob.Digest, accept bool, step func(string)) (cluster.VersionID, error) {
	return s.publish(ctx, asker, owner, name, "", files, accept, step)
}

// publish is Publish of files that came from a source, or were uploaded where it is "".
func (s *Server) publish(ctx context.Context, asker cluster.Asker, owner, name, source string, files map[string]blob.Digest, accept bool, step func(string)) (cluster.VersionID, error) {
	none := cluster.VersionID{}
	if !cluster.ValidName(name) {
		return none, &wire.Refused{Code: connect.CodeInvalidArgument, Why: fmt.Sprintf("%.80q is no name for a model", name)}
	}
	if err := notYours(s.live.Now(), owner, name); err != nil {
		return none, err
	}
	held := slices.Collect(maps.Values(files))
	s.pins.hold(held...)
	defer func() { s.pins.release(held...) }()
	for file, d := range files {
		if err := errors.Join(s.blobs.Touch(d), s.blobs.Flush(d)); err != nil {
			return none, fmt.Errorf("file %.80q: %w", file, err)
		}
		st, err := s.blobs.Stat(d)
		if err != nil {
			return none, fmt.Errorf("file %.80q: %w", file, err)
		}
		if !st.Complete {
			return none, fmt.Errorf("file %.80q: %w: %d of %d bytes were uploaded", file, blob.ErrUnknown, st.Present, st.Size)
		}
	}
	step("converting")
	made, err := s.convert(ctx, files)
	if err != nil {
		return none, err
	}
	for _, note := range made.Notes {
		step(note)
	}
	m, err := model.Decode(made.Manifest)
	if err != nil {
		return none, err
	}
	if m.Config.Arch == model.Graph && s.live.Now().Cluster().Feature < 3 {
		return none, &wire.Refused{Code: connect.CodeFailedPrecondition, Why: "models of this format need feature level 3: upgrade all coordinators first"}
	}
	derived, err := s.putAll(append(made.Derived, made.Manifest))
	defer func() { s.pins.release(derived...) }()
	if err != nil {
		return none, fmt.Errorf("store the manifest: %w", err)
	}
	digest := derived[len(derived)-1]
	v := cluster.Version{Manifest: digest, Profile: shard.ProfileOf(m), Created: s.now(), Traits: made.Traits}
	all := append(blobsOf(m), digest)
	for _, t := range m.Tasks {
		v.Tasks = append(v.Tasks, string(t))
	}
	if s.live.Now().Cluster().Feature < 2 {
		v.Traits = nil // a coordinator of before could not read the command
	} else {
		list, err := s.folderOf(source, files)
		if err != nil {
			return none, err
		}
		if v.Folder, err = s.blobs.Put(list); err != nil {
			return none, fmt.Errorf("store the list of files: %w", err)
		}
		v.Source = source
		all = append(append(all, v.Folder), held...)
	}
	all = unique(all)
	s.pins.hold(all...)
	defer s.pins.release(all...)
	for _, d := range all {
		st, err := s.blobs.Stat(d)
		if err != nil {
			return none, err
		}
		v.Bytes += st.Size
	}
	if s.live.Now().Cluster().Feature >= 3 {
		v.Format = string(made.Format)
		step("trying it")
		if v.Proof, err = s.prove(ctx, made, m, files, accept); err != nil {
			return none, err
		}
	}
	step("copying to a second coordinator")
	if err := s.copyOut(ctx, &v, all, step); err != nil {
		return none, err
	}
	step("committing")
	return s.commitVersion(ctx, asker, owner, name, v)
}

// putAll stores small blobs and holds them; what it gives is to be released, also after an error.
func (s *Server) putAll(list [][]byte) (held []blob.Digest, err error) {
	for _, b := range list {
		d, err := s.blobs.Put(b)
		if err != nil {
			return held, err
		}
		s.pins.hold(d)
		held = append(held, d)
	}
	return held, nil
}

// blobsOf lists the blobs of a manifest, each once, sorted.
func blobsOf(m *model.Manifest) []blob.Digest {
	seen := map[blob.Digest]bool{}
	for _, t := range m.Tensors {
		seen[t.Ref.Digest] = true
	}
	for _, f := range m.Files {
		seen[f.Digest] = true
	}
	var out []blob.Digest
	for d := range seen {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b blob.Digest) int { return bytes.Compare(a[:], b[:]) })
	return out
}

// notYours refuses a name that owner may not publish under; "" may under all. It is said again when the version is committed; but nothing
// should be fetched or converted first.
func notYours(state cluster.State, owner, name string) error {
	if owner == "" || state.MayPublish(owner, name) {
		return nil
	}
	return &wire.Refused{Code: connect.CodePermissionDenied, Why: fmt.Sprintf("model %.128s: %s", name, cluster.NotYours)}
}

// commitVersion gives the version the model's next number. The same content published twice is the same version.
func (s *Server) commitVersion(ctx context.Context, asker cluster.Asker, owner, name string, v cluster.Version) (cluster.VersionID, error) {
	for {
		state := s.live.Now()
		if err := notYours(state, owner, name); err != nil {
			return cluster.VersionID{}, err
		}
		for old := range state.VersionsOf(name) {
			if old.Manifest == v.Manifest {
				return old.VersionID, nil
			}
		}
		v.VersionID = cluster.VersionID{Model: name, Number: state.NextNumber(name)}
		rejected, err := s.Propose(ctx, cluster.Txn{Do: []cluster.Command{cluster.PutVersion{Version: v, Owner: owner}}, Asker: asker})
		switch {
		case err != nil:
			return cluster.VersionID{}, err
		case rejected[0] == nil:
			return v.VersionID, nil
		case rejected[0].Reason == cluster.ReasonOwner: // whose it is changed meanwhile: the next turn says so
		case rejected[0].Reason != cluster.ReasonStale && rejected[0].Reason != cluster.ReasonExists:
			return cluster.VersionID{}, rejected[0]
		}
	}
}

// replicate lets another coordinator fetch the blobs, and tells who holds them now. A cluster of one coordinator has one holder.
func (s *Server) replicate(ctx context.Context, blobs []blob.Digest) ([]cluster.NodeID, error) {
	others := s.others()
	if len(others) == 0 {
		return []cluster.NodeID{s.member.ID}, nil
	}
	failed := &wire.Refused{Code: connect.CodeUnavailable, Why: "no other coordinator takes a copy"}
	for _, m := range others {
		_, err := wire.Call[wire.HoldRequest, wire.Empty](ctx, s.dialer, cluster.RoleCoordinator, m.Addr, wire.Hold, &wire.HoldRequest{Blobs: blobs, Sources: []string{s.cfg.Listen}})
		if err == nil {
			return slices.Sorted(slices.Values([]cluster.NodeID{s.member.ID, m.ID})), nil
		}
		var said *wire.Refused
		if errors.As(err, &said) {
			failed.Code = said.Code
		}
		failed.Why += fmt.Sprintf("; %s: %v", m.Name, err)
	}
	return nil, failed
}

// hold answers wire.Hold.
func (s *Server) hold(ctx context.Context, r *wire.HoldRequest) (*wire.Empty, error) {
	s.pins.hold(r.Blobs...)
	defer s.pins.release(r.Blobs...)
	for _, d := range r.Blobs {
		err := s.bring(ctx, r.Sources, d)
		if isFull(err) {
			return nil, &wire.Refused{Code: connect.CodeResourceExhausted, Why: err.Error()}
		}
		if err != nil {
			return nil, err
		}
	}
	return &wire.Empty{}, nil
}

// ConvertOrder is what the converter process reads from its standard input.
type ConvertOrder struct {
	Files map[string]ConvertInput `json:"files"`
}

// ConvertInput is one file of a model's folder.
type ConvertInput struct {
	Digest blob.Digest `json:"digest"`
	Path   string      `json:"path"`
	Size   int64       `json:"size"`
}

// ConvertAnswer is what it writes to its standard output: a manifest with the version's traits, or a refusal.
type ConvertAnswer struct {
	Manifest []byte           `json:"manifest,omitempty"`
	Format   convert.Format   `json:"format,omitempty"`
	Derived  [][]byte         `json:"derived,omitempty"` // blobs that the manifest names and that were not uploaded
	Notes    []string         `json:"notes,omitempty"`   // for whoever publishes
	Traits   *cluster.Traits  `json:"traits,omitempty"`
	Refused  *convert.Refused `json:"refused,omitempty"`
}

// convert reads the foreign files in a process of its own: a parser that goes wrong costs that process and nothing else.
func (s *Server) convert(ctx context.Context, files map[string]blob.Digest) (made ConvertAnswer, err error) {
	var order ConvertOrder
	if order.Files, err = s.inputs(files); err != nil {
		return made, err
	}
	var a ConvertAnswer
	if diagnosis, err := s.child(ctx, "convert", order, &a); err != nil {
		return made, fmt.Errorf("coordinator: the converter failed: %w: %s", err, diagnosis)
	}
	if a.Refused != nil {
		return made, *a.Refused
	}
	return a, nil
}

// limited drops what goes beyond a number of bytes.
type limited struct {
	w    *bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	l.w.Write(p[:n])
	return len(p), nil
}
