package library

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/skein-project/skein/blob"
)

// Limits of a list of files.
const (
	folderFormat = 1
	MaxFolder    = 4 << 20 // bytes of its encoding
	maxFiles     = 4096
)

// ErrFolder says that it is not known which files a version was made of.
var ErrFolder = errors.New("library: the version's list of files is unknown or malformed")

// File is one file of a version as it was uploaded or pulled.
type File struct {
	Name   string      `json:"name"` // in the model's folder, with slashes
	Digest blob.Digest `json:"digest"`
	Size   int64       `json:"size"` // bytes
}

// Folder lists the files of a version. It is a blob of its own: the manifest has only what serving needs.
type Folder struct {
	Format int    `json:"format"`           // 1
	Source string `json:"source,omitempty"` // where it was pulled from; "" = it was uploaded
	Files  []File `json:"files"`            // sorted by name
}

// FolderOf lists files by name.
func FolderOf(source string, files map[string]File) Folder {
	f := Folder{Format: folderFormat, Source: source}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f.Files = append(f.Files, File{name, files[name].Digest, files[name].Size})
	}
	return f
}

// Encode writes the canonical form.
func (f Folder) Encode() ([]byte, error) { return json.Marshal(f) }

// DecodeFolder reads what Encode wrote. check refuses names that no file of a model may have. Errors wrap ErrFolder.
func DecodeFolder(b []byte, check func(name string) error) (f Folder, err error) {
	if len(b) > MaxFolder {
		return f, fmt.Errorf("%w: %d bytes", ErrFolder, len(b))
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("%w: %w", ErrFolder, err)
	}
	if f.Format != folderFormat || len(f.Files) > maxFiles {
		return f, fmt.Errorf("%w: format %d, %d files", ErrFolder, f.Format, len(f.Files))
	}
	for i, file := range f.Files {
		if err := check(file.Name); err != nil || file.Size < 0 || file.Size > blob.MaxSize || i > 0 && f.Files[i-1].Name >= file.Name {
			return f, fmt.Errorf("%w: file %d, %.80q of %d bytes", ErrFolder, i, file.Name, file.Size)
		}
	}
	return f, nil
}
