// Package hub fetches models from elsewhere: a Hugging Face-shaped hub, S3 buckets, OCI registries, a folder.
//
// What a source says of its files is a claim: sizes and hashes are checked against the bytes, and a source that was wrong is named
// with the file. Credentials go to the host that the operator configured, never to one that a server names.
package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
)

// Limits of what a source may say.
const (
	MaxFiles   = 4096     // of a revision, whether wanted or not
	MaxSmall   = 64 << 20 // bytes of a file that is no weights
	maxList    = 16 << 20 // bytes of a list of files
	maxSecret  = 4 << 10  // bytes of a file with a token
	maxText    = 512      // bytes of a source's name
	maxHops    = 5        // redirects to follow
	maxMessage = 200      // bytes of a server's words in an error
)

// DefaultURL is the hub that "hf:" means.
const DefaultURL = "https://huggingface.co"

// Config is what the operator says of the places that models come from. Its tags name the settings and describe them to people.
type Config struct {
	URL       string   `yaml:"hub_url" help:"hub that hf:ORG/NAME means (default https://huggingface.co)"`                               // default DefaultURL
	TokenFile string   `yaml:"hub_token_file" help:"file with the token for that hub"`                                                   // default none
	Token     string   `yaml:"hub_token" help:"token for that hub, better given by a file or the environment" secret:"true"`             // default none
	Allow     []string `yaml:"hub_allow" help:"networks of the inside that models may be fetched from, as address/bits"`                 // default none
	Proxy     string   `yaml:"hub_proxy" help:"URL of a proxy for fetching models"`                                                      // default none
	S3URL     string   `yaml:"hub_s3_url" help:"S3 endpoint that s3://BUCKET/PREFIX means (default https://s3.amazonaws.com)"`           // default https://s3.amazonaws.com
	S3Region  string   `yaml:"hub_s3_region" help:"S3 region (default us-east-1)"`                                                       // default us-east-1
	S3Keys    string   `yaml:"hub_s3_keys" help:"file with S3 keys in the format of ~/.aws/credentials (default: none, public buckets)"` // default none
	OCIAuth   string   `yaml:"hub_oci_auth" help:"file with registry passwords in the format of ~/.docker/config.json"`                  // default none
	OCIPlain  []string `yaml:"hub_oci_plain" help:"host:port of registries that are called over plain http"`                             // default none
	OCIRealms []string `yaml:"hub_oci_realms" help:"hosts beside the registry itself that registry passwords may be sent to"`            // default none
	Folder    string   `yaml:"hub_folder" help:"folder on this machine that folder:NAME means a folder in"`                              // default none
}

// Validate checks URLs, networks and that files with secrets can be read.
func (c Config) Validate() error {
	var errs []error
	for what, text := range map[string]string{"hub_url": c.URL, "hub_proxy": c.Proxy, "hub_s3_url": c.S3URL} {
		if u, err := url.Parse(text); text != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			errs = append(errs, fmt.Errorf("%s: want http(s)://host[:port]", what))
		}
	}
	for what, file := range map[string]string{"hub_token_file": c.TokenFile, "hub_s3_keys": c.S3Keys, "hub_oci_auth": c.OCIAuth} {
		if file == "" {
			continue
		}
		f, err := os.Open(file)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
			continue
		}
		f.Close()
	}
	_, err := c.Networks()
	return errors.Join(append(errs, err)...)
}

// Networks are those of Allow.
func (c Config) Networks() (out []netip.Prefix, err error) {
	for _, text := range c.Allow {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("hub_allow: %.80q is no network: want address/bits", text)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// Public is what is left for those who may not use the operator's secrets, nor see its folders: whatever those open, others must not
// publish as their own.
func (c Config) Public() Config {
	c.TokenFile, c.Token, c.S3Keys, c.OCIAuth, c.Folder = "", "", "", "", ""
	return c
}

// token is the secret for the hub, read again each time: a file may be replaced.
func (c Config) token() (string, error) {
	if c.TokenFile == "" {
		return c.Token, nil
	}
	f, err := os.Open(c.TokenFile)
	if err != nil {
		return "", fmt.Errorf("hub: token: %w", err)
	}
	defer f.Close() // opened for reading
	b, err := io.ReadAll(io.LimitReader(f, maxSecret))
	return strings.TrimSpace(string(b)), err
}

// File is one of a source's files as the source describes it.
type File struct {
	Name   string // in the model's folder, with slashes
	Size   int64  // bytes
	Sum    Sum    // zero where the source claims none
	Tag    string // changes with the content, where there is such a thing: an ETag, a time
	Packed string // "tar", "tar+gzip", "tar+zstd": not a file but an archive of files; else ""
}

// Source has the files of one revision of a model.
type Source interface {
	// List names the files. The order does not matter.
	List(ctx context.Context) ([]File, error)
	// Open reads a listed file from an offset to its end.
	Open(ctx context.Context, f File, off int64) (io.ReadCloser, error)
	// String names the source with its revision pinned where it has revisions.
	String() string
}

// Errors of this package; see also Lied and Status.
var (
	ErrSource = errors.New("hub: no source of models")       // the text that names it is wrong
	ErrFolder = errors.New("hub: not a folder to pull from") // see Config.Folder
	ErrSecret = errors.New("hub: a server asked for a secret that is not for it")
)

// Lied says what of a source's words was not so.
type Lied struct {
	Source, File string // File is "" where the source as a whole is meant
	Why          string
}

// Error implements error.
func (e *Lied) Error() string {
	if e.File == "" {
		return fmt.Sprintf("hub: %s: %s", e.Source, e.Why)
	}
	return fmt.Sprintf("hub: %q of %s: %s", e.File, e.Source, e.Why)
}

// Status is an answer of a server that is no success.
type Status struct {
	What    string // that was asked for
	Code    int    // HTTP
	Message string // the server's, cut
}

// Error implements error.
func (e *Status) Error() string {
	text := fmt.Sprintf("hub: %s: %d %s", e.What, e.Code, http.StatusText(e.Code))
	if e.Message != "" {
		text += fmt.Sprintf(" (%q)", e.Message)
	}
	return text
}

// temporary says that the same request may succeed later.
func (e *Status) temporary() bool {
	return e.Code >= 500 || e.Code == http.StatusTooManyRequests || e.Code == http.StatusRequestTimeout
}

// Hub opens sources.
type Hub struct {
	cfg  Config
	http *http.Client // that cannot be led inside
}

// New makes a hub that makes its calls by a client.
func New(cfg Config, client *http.Client) *Hub { return &Hub{cfg, client} }

// Open finds a source: hf:ORG/NAME[@REVISION], s3://BUCKET/PREFIX, oci:REGISTRY/REPOSITORY(:TAG|@DIGEST), folder:NAME. A revision
// or tag is pinned to what it means now.
func (h *Hub) Open(ctx context.Context, text string) (Source, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("%w: its name has %d bytes, limit %d", ErrSource, len(text), maxText)
	}
	switch kind, rest, _ := strings.Cut(text, ":"); kind {
	case "hf":
		return h.openHF(ctx, rest)
	case "s3":
		return h.openS3(rest)
	case "oci":
		return h.openOCI(ctx, rest)
	case "folder":
		return h.openFolder(rest)
	}
	return nil, fmt.Errorf("%w: %.100q: want hf:ORG/NAME[@REVISION], s3://BUCKET/PREFIX, oci:REGISTRY/REPOSITORY:TAG or folder:NAME", ErrSource, text)
}
