package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// hfName and hfRevision are what names of repositories and revisions look like; anything else could change the path of a URL.
var (
	hfName     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$`)
	hfRevision = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$`)
	hfCommit   = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// hf is a revision of a repository on a hub that has Hugging Face's HTTP API.
type hf struct {
	hub    *Hub
	base   *url.URL
	id     string // "org/name"
	commit string
	files  []File
}

// hfModel is what the hub says of a revision.
type hfModel struct {
	SHA      string `json:"sha"`
	Siblings []struct {
		Name string `json:"rfilename"`
		Size *int64 `json:"size"`   // absent without ?blobs=true, and on mirrors that do not know it
		Blob string `json:"blobId"` // git's name of the content: of a pointer where LFS is set
		LFS  *struct {
			SHA256 string `json:"sha256"`
			Size   int64  `json:"size"`
		} `json:"lfs"`
	} `json:"siblings"`
}

// openHF asks for a revision, and pins it to its commit.
func (h *Hub) openHF(ctx context.Context, text string) (Source, error) {
	id, revision, named := strings.Cut(text, "@")
	if !named {
		revision = "main"
	}
	if !hfName.MatchString(id) || !hfRevision.MatchString(revision) || strings.Contains(id+revision, "..") {
		return nil, fmt.Errorf("%w: hf:%.100q: want hf:ORG/NAME or hf:ORG/NAME@REVISION", ErrSource, text)
	}
	text = h.cfg.URL
	if text == "" {
		text = DefaultURL
	}
	base, err := url.Parse(strings.TrimSuffix(text, "/"))
	if err != nil {
		return nil, fmt.Errorf("hub: hub_url: %w", err)
	}
	s := &hf{hub: h, base: base, id: id}
	at, err := url.Parse(base.String() + "/api/models/" + id + "/revision/" + url.PathEscape(revision) + "?blobs=true")
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	res, err := s.ask(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if err := success(res, "hf:"+id+"@"+revision); err != nil {
		return nil, err
	}
	var m hfModel
	if err := readJSON(res.Body, &m); err != nil {
		return nil, &Lied{"hf:" + id, "", err.Error()}
	}
	if !hfCommit.MatchString(m.SHA) {
		return nil, &Lied{"hf:" + id, "", fmt.Sprintf("the revision's commit is %.60q", m.SHA)}
	}
	if hfCommit.MatchString(revision) && m.SHA != revision {
		return nil, &Lied{"hf:" + id, "", fmt.Sprintf("commit %s was asked for, and %s answered", revision, m.SHA)}
	}
	s.commit = m.SHA
	return s, s.read(m)
}

// readJSON reads a list of files of bounded size.
func readJSON(r io.Reader, to any) error {
	b, err := io.ReadAll(io.LimitReader(r, maxList+1))
	switch {
	case err != nil:
		return err
	case len(b) > maxList:
		return fmt.Errorf("the list of files is larger than %d bytes", maxList)
	}
	if err := json.Unmarshal(b, to); err != nil {
		return fmt.Errorf("the list of files: %w", err)
	}
	return nil
}

// read notes the files of a revision.
func (s *hf) read(m hfModel) error {
	if len(m.Siblings) > MaxFiles {
		return &Lied{s.String(), "", fmt.Sprintf("has %d files, limit %d", len(m.Siblings), MaxFiles)}
	}
	for _, sib := range m.Siblings {
		f := File{Name: sib.Name, Size: -1}
		ok := true
		switch {
		case sib.LFS != nil:
			f.Size = sib.LFS.Size
			f.Sum, ok = parseSum("sha256", sib.LFS.SHA256)
		case sib.Size != nil:
			f.Size = *sib.Size
			if sib.Blob != "" {
				f.Sum, ok = parseSum("git-sha1", sib.Blob)
			}
		}
		if !fs.ValidPath(f.Name) {
			return &Lied{s.String(), f.Name, "is no name of a file"}
		}
		if !ok || f.Size < -1 {
			return &Lied{s.String(), f.Name, "its size or hash is malformed"}
		}
		s.files = append(s.files, f)
	}
	return nil
}

// String implements Source.
func (s *hf) String() string { return "hf:" + s.id + "@" + s.commit }

// List implements Source. Sizes that the hub's list does not have are asked for, where a model may need the file.
func (s *hf) List(ctx context.Context) ([]File, error) {
	out := slices.Clone(s.files)
	for i, f := range out {
		if f.Size >= 0 {
			continue
		}
		if !mayMatter(f.Name, 0) {
			out[i].Size = 0 // never fetched
			continue
		}
		res, err := s.ask(ctx, http.MethodHead, s.file(f), nil)
		if err != nil {
			return nil, err
		}
		res.Body.Close()
		if res.StatusCode >= 400 {
			return nil, &Status{What: f.Name + " of " + s.String(), Code: res.StatusCode}
		}
		if out[i], err = s.linked(f, res); err != nil {
			return nil, err
		}
		if out[i].Size < 0 {
			return nil, &Lied{s.String(), f.Name, "no size is announced"}
		}
	}
	return out, nil
}

// file is the URL of a file. Its name cannot leave the revision: JoinPath is given whole names that were checked.
func (s *hf) file(f File) *url.URL {
	parts := strings.Split(f.Name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return s.base.JoinPath(append([]string{s.id, "resolve", s.commit}, parts...)...)
}

// linked reads what the hub's own answer says of a file, whether it is the file or a redirect to it, and compares.
func (s *hf) linked(f File, res *http.Response) (File, error) {
	lied := func(format string, args ...any) (File, error) {
		return f, &Lied{s.String(), f.Name, fmt.Sprintf(format, args...)}
	}
	if c := res.Header.Get("X-Repo-Commit"); c != "" && c != s.commit {
		return lied("comes from commit %.60q", c)
	}
	size := res.Header.Get("X-Linked-Size")
	if size == "" && res.StatusCode == http.StatusOK && res.ContentLength >= 0 {
		size = strconv.FormatInt(res.ContentLength, 10)
	}
	if size != "" {
		n, err := strconv.ParseInt(size, 10, 64)
		if err != nil || n < 0 || f.Size >= 0 && n != f.Size {
			return lied("has %.30q bytes by its own answer, and %d were announced", size, f.Size)
		}
		f.Size = n
	}
	etag := res.Header.Get("X-Linked-Etag")
	if etag == "" {
		etag = res.Header.Get("ETag")
	}
	etag = strings.Trim(strings.TrimPrefix(etag, "W/"), `"`)
	if f.Tag == "" {
		f.Tag = etag
	}
	for _, kind := range []string{"sha256", "git-sha1"} {
		sum, ok := parseSum(kind, etag)
		switch {
		case !ok:
		case f.Sum == Sum{} && f.Size >= 0:
			f.Sum = sum
		case f.Sum.Kind == kind && f.Sum != sum:
			return lied("has the %s %s by its own answer, and %s was announced", kind, sum.Hex, f.Sum.Hex)
		}
	}
	return f, nil
}

// Open implements Source.
func (s *hf) Open(ctx context.Context, f File, off int64) (io.ReadCloser, error) {
	header := http.Header{"Accept-Encoding": {"identity"}}
	if off > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", off))
	}
	res, err := s.ask(ctx, http.MethodGet, s.file(f), header)
	if err != nil {
		return nil, err
	}
	if isRedirect(res) || res.StatusCode == http.StatusOK && off == 0 {
		if _, err = s.linked(f, res); err == nil && isRedirect(res) {
			at, elsewhere := res.Request.URL, *res
			res.Body.Close()
			res, err = s.elsewhere(ctx, at, elsewhere.Header.Get("Location"), header)
		}
		if err != nil {
			if res != nil {
				res.Body.Close()
			}
			return nil, err
		}
	}
	return ranged(res, s, f, off)
}

func isRedirect(res *http.Response) bool {
	return res.StatusCode >= 300 && res.StatusCode < 400 && res.Header.Get("Location") != ""
}

// ask sends a request to the hub itself, with the token. A redirect to the same host is followed, one elsewhere is the answer.
func (s *hf) ask(ctx context.Context, method string, at *url.URL, header http.Header) (*http.Response, error) {
	token, err := s.hub.cfg.token()
	if err != nil {
		return nil, err
	}
	client := *s.hub.http
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for range maxHops + 1 {
		req, err := http.NewRequestWithContext(ctx, method, at.String(), nil)
		if err != nil {
			return nil, fmt.Errorf("hub: %w", err)
		}
		if header != nil {
			req.Header = header.Clone()
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := client.Do(req)
		if err != nil {
			return nil, quiet(err)
		}
		if !isRedirect(res) {
			return res, nil
		}
		to, err := at.Parse(res.Header.Get("Location"))
		if err != nil || to.Scheme != s.base.Scheme || to.Host != s.base.Host || res.Header.Get("X-Linked-Size") != "" {
			return res, nil //nolint:nilerr // where it leads is for the caller to see
		}
		res.Body.Close()
		at = to
	}
	return nil, &Lied{s.String(), "", fmt.Sprintf("redirects more than %d times", maxHops)}
}

// elsewhere follows a redirect, to another host without the token. The client's own rules hold for redirects from there.
func (s *hf) elsewhere(ctx context.Context, from *url.URL, location string, header http.Header) (*http.Response, error) {
	to, err := from.Parse(location)
	switch {
	case err != nil:
		return nil, &Lied{s.String(), "", fmt.Sprintf("redirects to %.100q", location)}
	case from.Scheme == "https" && to.Scheme != "https":
		return nil, &Lied{s.String(), "", "redirects from https to " + to.Scheme}
	case to.Scheme == s.base.Scheme && to.Host == s.base.Host:
		return s.ask(ctx, http.MethodGet, to, header)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	req.Header = header.Clone()
	res, err := s.hub.http.Do(req)
	if err != nil {
		return nil, quiet(err)
	}
	return res, nil
}

// quiet takes from an error what a URL has after its path: where large files are, it is a signature that lets anybody in.
func quiet(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		u.URL, _, _ = strings.Cut(u.URL, "?")
	}
	return err
}

// success refuses an answer that is none.
func success(res *http.Response, what string) error {
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return nil
	}
	b, _ := io.ReadAll(io.LimitReader(res.Body, maxMessage)) // the status is what matters
	return &Status{What: what, Code: res.StatusCode, Message: strings.TrimSpace(string(b))}
}

// ranged checks that an answer is a file from an offset to its end, and gives its body from there.
func ranged(res *http.Response, src Source, f File, off int64) (io.ReadCloser, error) {
	err := success(res, f.Name+" of "+src.String())
	skip := int64(0)
	lied := func(format string, args ...any) error {
		return &Lied{src.String(), f.Name, fmt.Sprintf(format, args...)}
	}
	switch coding := res.Header.Get("Content-Encoding"); {
	case err != nil:
		if res.StatusCode == http.StatusRequestedRangeNotSatisfiable {
			err = lied("has no byte %d, and %d bytes were announced", off, f.Size)
		}
	case coding != "" && coding != "identity":
		err = lied("comes encoded as %.40q", coding)
	case res.StatusCode == http.StatusPartialContent:
		if want, got := fmt.Sprintf("bytes %d-%d/%d", off, f.Size-1, f.Size), res.Header.Get("Content-Range"); got != want {
			err = lied("comes as %.80q, want %q", got, want)
		}
	case res.StatusCode != http.StatusOK:
		err = lied("comes with status %d", res.StatusCode)
	default:
		skip = off // the server does not know ranges
		if res.ContentLength >= 0 && res.ContentLength != f.Size {
			err = lied("comes with %d bytes, and %d were announced", res.ContentLength, f.Size)
		}
	}
	if err == nil && skip > 0 {
		_, err = io.CopyN(io.Discard, res.Body, skip)
		if errors.Is(err, io.EOF) {
			err = lied("ends before byte %d, and %d were announced", skip, f.Size)
		}
	}
	if err != nil {
		res.Body.Close()
		return nil, err
	}
	return res.Body, nil
}
