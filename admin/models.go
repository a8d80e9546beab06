package admin

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/api/skein/admin/v1/adminv1connect"
	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/convert"
)

type models struct{ *Handler }

var _ adminv1connect.ModelServiceHandler = models{}

// maxFiles bounds the files of a model's folder.
const maxFiles = 1024

func (h models) BeginBlob(ctx context.Context, r *connect.Request[adminv1.BeginBlobRequest]) (*connect.Response[adminv1.BeginBlobResponse], error) {
	x := blob.Index{Size: r.Msg.Size}
	for _, c := range r.Msg.Chunks {
		if len(c) != len(blob.Digest{}) {
			return nil, invalid("a chunk's hash has %d bytes, want %d", len(c), len(blob.Digest{}))
		}
		x.Chunks = append(x.Chunks, [len(blob.Digest{})]byte(c))
	}
	missing, err := h.c.BeginBlob(x)
	if err != nil {
		return nil, err
	}
	if tenant := confined(ctx, modelsWrite); tenant != "" {
		missing = h.shown.begin(time.Now(), tenant, x, missing)
	}
	res := &adminv1.BeginBlobResponse{Digest: x.Digest().String()}
	for _, i := range missing {
		res.Missing = append(res.Missing, int32(i))
	}
	return connect.NewResponse(res), nil
}

func (h models) WriteChunk(ctx context.Context, r *connect.Request[adminv1.WriteChunkRequest]) (*connect.Response[adminv1.WriteChunkResponse], error) {
	d, err := blob.ParseDigest(r.Msg.Digest)
	if err != nil {
		return nil, err
	}
	tenant := confined(ctx, modelsWrite)
	if tenant != "" && !h.shown.begun(time.Now(), tenant, d) {
		return nil, fmt.Errorf("%w: %s: announce it first", blob.ErrUnknown, d.Short())
	}
	err = h.c.WriteChunk(d, int(r.Msg.Chunk), r.Msg.Data) // which checks what is written, also where it is there already
	if err == nil && tenant != "" {
		h.shown.sent(time.Now(), tenant, d, int(r.Msg.Chunk))
	}
	return connect.NewResponse(&adminv1.WriteChunkResponse{}), err
}

func (h models) Publish(ctx context.Context, r *connect.Request[adminv1.PublishRequest], out *connect.ServerStream[adminv1.PublishResponse]) error {
	if len(r.Msg.Files) == 0 || len(r.Msg.Files) > maxFiles {
		return invalid("%d files, want 1 to %d", len(r.Msg.Files), maxFiles)
	}
	files := map[string]blob.Digest{}
	for name, text := range r.Msg.Files {
		if err := convert.CheckName(name); err != nil {
			return err
		}
		d, err := blob.ParseDigest(text)
		if err != nil {
			return err
		}
		if tenant := confined(ctx, modelsWrite); tenant != "" && !h.shown.whole(time.Now(), tenant, d) {
			return fmt.Errorf("file %.80q: %w: it was not uploaded, or not whole", name, blob.ErrUnknown)
		}
		files[name] = d
	}
	v, err := h.c.Publish(ctx, h.asker(ctx), confined(ctx, modelsWrite), r.Msg.Model, files, r.Msg.Accept, func(step string) {
		_ = out.Send(&adminv1.PublishResponse{Step: step}) // the last word tells whether anybody listens
	})
	if err != nil {
		return err
	}
	return out.Send(&adminv1.PublishResponse{Step: "published", Version: v.String()})
}

func (h models) ListModels(ctx context.Context, _ *connect.Request[adminv1.ListModelsRequest]) (*connect.Response[adminv1.ListModelsResponse], error) {
	s := h.c.Live().Now()
	res := &adminv1.ListModelsResponse{}
	own := func(model string) bool {
		return sees(ctx, accessv1.Permission_PERMISSION_MODELS_READ, s.Model(model).Owner)
	}
	for v := range s.Versions() {
		if own(v.Model) {
			res.Versions = append(res.Versions, versionView(s, v))
		}
	}
	for a := range s.Aliases() {
		if own(a.Target.Model) {
			res.Aliases = append(res.Aliases, aliasView(a))
		}
	}
	for m := range s.Models() {
		if own(m.Name) {
			res.Models = append(res.Models, modelView(m))
		}
	}
	return connect.NewResponse(res), nil
}

func versionView(s cluster.State, v cluster.Version) *adminv1.Version {
	arch := "encoder"
	switch {
	case v.Profile.Decoder:
		arch = "decoder"
	case v.Format == string(convert.SavedModel) || v.Format == string(convert.ONNX):
		arch = "graph"
	}
	out := &adminv1.Version{Version: v.VersionID.String(), Manifest: v.Manifest.String(), Arch: arch, Format: v.Format, Tasks: v.Tasks, Bytes: v.Bytes,
		Layers: int32(len(v.Profile.Blocks)), CreatedMs: int64(v.Created), Traits: traitsView(v.Traits), Proof: proofView(v.Proof)}
	for _, id := range v.Holders {
		m, _ := s.Member(id)
		out.Holders = append(out.Holders, cmp.Or(m.Name, string(id)))
	}
	for r := range s.ReplicasOf(v.VersionID) {
		if s.Routable(r) {
			out.ReadyReplicas++
		}
	}
	return out
}

func proofView(p *cluster.Proof) *adminv1.Proof {
	if p == nil {
		return nil
	}
	return &adminv1.Proof{Why: p.Why, Finite: p.Finite, Cut: deviationView(p.Cut), Golden: deviationView(p.Golden)}
}

func deviationView(d *cluster.Deviation) *adminv1.Deviation {
	if d == nil {
		return nil
	}
	return &adminv1.Deviation{Outputs: int32(d.Outputs), Absolute: float64(d.Absolute) / 1e9, Relative: float64(d.Relative) / 1e9}
}

func aliasView(a cluster.Alias) *adminv1.Alias {
	out := &adminv1.Alias{Name: a.Name, Target: a.Target.String(), Rollout: rolloutView(a.Rollout)}
	for _, v := range a.History {
		out.History = append(out.History, v.String())
	}
	return out
}

func (h models) DeleteVersion(ctx context.Context, r *connect.Request[adminv1.DeleteVersionRequest]) (*connect.Response[adminv1.DeleteVersionResponse], error) {
	err := h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		id, ok := cluster.ParseVersionID(r.Msg.Version)
		if !ok {
			return nil, invalid("%.128q is no version: want model@number", r.Msg.Version)
		}
		v, err := ownVersion(ctx, s, id.String())
		return cluster.DeleteVersion{Version: v.VersionID, Was: v.Rev}, err
	})
	return connect.NewResponse(&adminv1.DeleteVersionResponse{}), err
}

func (h models) SetAlias(ctx context.Context, r *connect.Request[adminv1.SetAliasRequest]) (*connect.Response[adminv1.SetAliasResponse], error) {
	err := h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		v, err := ownVersion(ctx, s, r.Msg.Version)
		if err != nil {
			return nil, err
		}
		old, there := s.Alias(r.Msg.Name)
		if there {
			_, err = ownAlias(ctx, s, r.Msg.Name)
		} else if s.NextNumber(r.Msg.Name) > 1 { // who calls another tenant's model by its name must not be led elsewhere
			err = mayModel(ctx, s, modelsWrite, r.Msg.Name)
		}
		return cluster.PutAlias{Name: r.Msg.Name, Target: v.VersionID, Force: r.Msg.Force, Accept: r.Msg.Accept, Was: old.Rev}, err
	})
	if err != nil {
		return nil, err
	}
	a, _ := h.c.Live().Now().Alias(r.Msg.Name)
	return connect.NewResponse(&adminv1.SetAliasResponse{Alias: aliasView(a)}), nil
}

// alias finds an alias.
func alias(s cluster.State, name string) (cluster.Alias, error) {
	a, ok := s.Alias(name)
	if !ok {
		return a, unknownAlias(name)
	}
	return a, nil
}

func (h models) RollbackAlias(ctx context.Context, r *connect.Request[adminv1.RollbackAliasRequest]) (*connect.Response[adminv1.RollbackAliasResponse], error) {
	a, err := ownAlias(ctx, h.c.Live().Now(), r.Msg.Name)
	if err != nil {
		return nil, err
	}
	// Not proposed again if it was overtaken: rolling back twice is not what was asked for.
	if err := h.do(ctx, cluster.RollbackAlias{Name: a.Name, Force: r.Msg.Force, Was: a.Rev}); err != nil {
		return nil, err
	}
	a, err = alias(h.c.Live().Now(), r.Msg.Name)
	return connect.NewResponse(&adminv1.RollbackAliasResponse{Alias: aliasView(a)}), err
}

func (h models) DeleteAlias(ctx context.Context, r *connect.Request[adminv1.DeleteAliasRequest]) (*connect.Response[adminv1.DeleteAliasResponse], error) {
	err := h.change(ctx, func(s cluster.State) (cluster.Command, error) {
		a, err := ownAlias(ctx, s, r.Msg.Name)
		return cluster.DeleteAlias{Name: a.Name, Was: a.Rev}, err
	})
	return connect.NewResponse(&adminv1.DeleteAliasResponse{}), err
}
