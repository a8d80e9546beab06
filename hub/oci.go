package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// Media types and annotations of CNCF ModelPack (github.com/modelpack/model-spec, docs/spec.md and docs/annotations.md).
const (
	packArtifact = "application/vnd.cncf.model.manifest.v1+json"
	packConfig   = "application/vnd.cncf.model.config.v1+json"
	packLayer    = "application/vnd.cncf.model."
	packPath     = "org.cncf.model.filepath"
	maxManifest  = 4 << 20 // bytes
)

// packed lists the layers whose archives are unpacked. Those of documents, code and datasets are not: no model needs them.
var packed = []string{"weight", "weight.config"}

// artifact is a ModelPack artifact in a registry.
type artifact struct {
	repo   *remote.Repository
	digest string // of its manifest, "sha256:…"
	files  []File
	layers map[string]ocispec.Descriptor // by the name of the file
}

func (h *Hub) openOCI(ctx context.Context, text string) (Source, error) {
	repo, err := remote.NewRepository(text)
	if err == nil {
		err = repo.Reference.ValidateReference()
	}
	if err != nil || repo.Reference.Reference == "" {
		return nil, fmt.Errorf("%w: oci:%.100q: want oci:REGISTRY/REPOSITORY:TAG or …@sha256:DIGEST", ErrSource, text)
	}
	host := repo.Reference.Host()
	repo.PlainHTTP = slices.Contains(h.cfg.OCIPlain, host)
	repo.MaxMetadataBytes = maxManifest
	client := *h.http
	client.Transport = fence{client.Transport, append([]string{host}, h.cfg.OCIRealms...)}
	login := &auth.Client{Client: &client, Cache: auth.NewCache(), BlockedRealmPrefixes: []netip.Prefix{}} // the client's guard knows better
	if h.cfg.OCIAuth != "" {
		store, err := credentials.NewFileStore(h.cfg.OCIAuth)
		if err != nil {
			return nil, fmt.Errorf("hub: hub_oci_auth: %w", err)
		}
		login.Credential = credentials.Credential(store)
	}
	repo.Client = login
	s := &artifact{repo: repo, layers: map[string]ocispec.Descriptor{}}
	desc, err := repo.Resolve(ctx, repo.Reference.Reference)
	if err != nil {
		return nil, s.failed(err, "")
	}
	s.digest = desc.Digest.String()
	b, err := content.FetchAll(ctx, repo, desc) // checked against the digest
	if err != nil {
		return nil, s.failed(err, "")
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, &Lied{s.String(), "", "its manifest is malformed: " + err.Error()}
	}
	return s, s.read(m)
}

// read notes the layers of a manifest.
func (s *artifact) read(m ocispec.Manifest) error {
	lied := func(file, format string, args ...any) error {
		return &Lied{s.String(), file, fmt.Sprintf(format, args...)}
	}
	if m.Versioned != (specs.Versioned{SchemaVersion: 2}) || m.ArtifactType != packArtifact && m.Config.MediaType != packConfig {
		return lied("", "is no model: artifact type %.80q, configuration %.80q", m.ArtifactType, m.Config.MediaType)
	}
	if len(m.Layers) > MaxFiles {
		return lied("", "has %d layers, limit %d", len(m.Layers), MaxFiles)
	}
	for i, l := range m.Layers {
		kind, isPack := strings.CutPrefix(l.MediaType, packLayer)
		kind, form, versioned := strings.Cut(kind, ".v1.")
		if !isPack || !versioned {
			return lied(l.Digest.String(), "is a layer of unknown type %.80q", l.MediaType)
		}
		f := File{Name: l.Annotations[packPath], Size: l.Size}
		if f.Name == "" {
			f.Name = l.Annotations[ocispec.AnnotationTitle]
		}
		var ok bool
		algorithm, sum, _ := strings.Cut(l.Digest.String(), ":")
		if f.Sum, ok = parseSum(algorithm, sum); !ok || f.Sum.Kind != "sha256" || f.Sum.Hex != sum {
			return lied(f.Name, "has the digest %.100q, want sha256", l.Digest)
		}
		switch {
		case form == "raw" && f.Name == "":
			return lied(l.Digest.String(), "is a file without a name")
		case form == "raw":
		case form == "tar" || form == "tar+gzip" || form == "tar+zstd":
			if !slices.Contains(packed, kind) {
				continue
			}
			f.Packed, f.Name = form, fmt.Sprintf("layer %d", i) // its name is not a file's
		default:
			return lied(f.Name, "is packed as %.80q", form)
		}
		if _, twice := s.layers[f.Name]; twice {
			return lied(f.Name, "is there twice")
		}
		s.layers[f.Name] = l
		s.files = append(s.files, f)
	}
	return nil
}

// String implements Source.
func (s *artifact) String() string {
	ref := s.repo.Reference
	return "oci:" + ref.Registry + "/" + ref.Repository + "@" + s.digest
}

// List implements Source.
func (s *artifact) List(context.Context) ([]File, error) { return s.files, nil }

// Open implements Source.
func (s *artifact) Open(ctx context.Context, f File, off int64) (io.ReadCloser, error) {
	body, err := s.repo.Blobs().Fetch(ctx, s.layers[f.Name])
	if err != nil {
		return nil, s.failed(err, f.Name)
	}
	if off == 0 {
		return body, nil
	}
	if seeker, ok := body.(io.Seeker); ok { // the registry knows ranges
		_, err = seeker.Seek(off, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, body, off)
	}
	if err != nil {
		body.Close()
		return nil, s.failed(err, f.Name)
	}
	return body, nil
}

// failed turns a registry's error into one of this package.
func (s *artifact) failed(err error, file string) error {
	var r *errcode.ErrorResponse
	if errors.As(err, &r) {
		message := r.Errors.Error()
		return &Status{What: strings.TrimSpace(file + " of " + s.String()), Code: r.StatusCode, Message: message[:min(len(message), maxMessage)]}
	}
	return fmt.Errorf("hub: %q of %s: %w", file, s, err)
}

// fence keeps secrets from hosts that a server names: a registry may say that tokens come from anywhere.
type fence struct {
	next  http.RoundTripper
	hosts []string // host[:port]s that secrets may be sent to
}

// RoundTrip implements http.RoundTripper.
func (f fence) RoundTrip(r *http.Request) (*http.Response, error) {
	secret := r.Header.Get("Authorization") != "" || r.Body != nil && r.Body != http.NoBody
	if secret && !slices.Contains(f.hosts, r.URL.Host) {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, fmt.Errorf("%w: %s; the setting hub_oci_realms would allow it", ErrSecret, r.URL.Host)
	}
	return f.next.RoundTrip(r)
}
