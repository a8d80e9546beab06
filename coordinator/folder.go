package coordinator

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/skein-project/skein/blob"
	"github.com/skein-project/skein/cluster"
	"github.com/skein-project/skein/convert"
	"github.com/skein-project/skein/library"
	"github.com/skein-project/skein/model"
)

// folderOf describes files that are here.
func (s *Server) folderOf(source string, files map[string]blob.Digest) ([]byte, error) {
	list := map[string]library.File{}
	for name, d := range files {
		st, err := s.blobs.Stat(d)
		if err != nil {
			return nil, err
		}
		list[name] = library.File{Digest: d, Size: st.Size}
	}
	return library.FolderOf(source, list).Encode()
}

// Files lists the files of a version as they were uploaded or pulled, by name. For a version of before such lists were kept, those that
// serving needs, where their names are known; else the error is library.ErrFolder.
func (s *Server) Files(ctx context.Context, v cluster.Version) ([]library.File, error) {
	if !v.Folder.IsZero() {
		f, err := s.folder(ctx, v)
		return f.Files, err
	}
	m, err := s.manifestOf(ctx, v)
	if err != nil {
		return nil, err
	}
	list := map[string]library.File{}
	for name, ref := range m.Files {
		list[name] = library.File{Digest: ref.Digest, Size: ref.Len}
	}
	weights := map[blob.Digest]bool{}
	for _, t := range m.Tensors {
		weights[t.Ref.Digest] = true
	}
	if len(weights) != 1 {
		return nil, fmt.Errorf("%w: %s has weights in %d files, and was published before their names were kept", library.ErrFolder, v.VersionID, len(weights))
	}
	d := m.Tensors[0].Ref.Digest
	size, err := s.BlobSize(ctx, d)
	list["model.safetensors"] = library.File{Digest: d, Size: size}
	return library.FolderOf("", list).Files, err
}

func (s *Server) folder(ctx context.Context, v cluster.Version) (library.Folder, error) {
	b, err := s.readWhole(ctx, v.Folder, library.MaxFolder)
	if err != nil {
		return library.Folder{}, err
	}
	return library.DecodeFolder(b, convert.CheckName)
}

func (s *Server) manifestOf(ctx context.Context, v cluster.Version) (*model.Manifest, error) {
	b, err := s.readWhole(ctx, v.Manifest, maxManifest)
	if err != nil {
		return nil, err
	}
	return model.Decode(b)
}

// readWhole reads a small blob, wherever it is.
func (s *Server) readWhole(ctx context.Context, d blob.Digest, limit int64) ([]byte, error) {
	size, err := s.BlobSize(ctx, d)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("blob %s: %d bytes, limit %d", d.Short(), size, limit)
	}
	return s.ReadBlob(ctx, blob.Ref{Digest: d, Len: size})
}

// versionBlobs lists all that belongs to a version, each blob once, sorted: manifest, list of files, files.
func (s *Server) versionBlobs(ctx context.Context, v cluster.Version) ([]blob.Digest, error) {
	m, err := s.manifestOf(ctx, v)
	if err != nil {
		return nil, err
	}
	out := append(blobsOf(m), v.Manifest)
	if !v.Folder.IsZero() {
		f, err := s.folder(ctx, v)
		if err != nil {
			return nil, err
		}
		out = append(out, v.Folder)
		for _, file := range f.Files {
			out = append(out, file.Digest)
		}
	}
	return unique(out), nil
}

// unique sorts blobs and takes out what is there twice.
func unique(list []blob.Digest) []blob.Digest {
	slices.SortFunc(list, func(a, b blob.Digest) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(list)
}
