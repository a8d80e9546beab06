package results

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Keep says how much of a request a record holds. Each holds what the one before it does.
type Keep string

// What is kept.
const (
	Nothing  Keep = "none"
	Metadata Keep = "metadata" // who, when, which version, how long, how many tokens: nothing of what was asked and answered
	Answers  Keep = "answers"  // also what was answered, without vectors
	All      Keep = "all"      // also what was asked, and vectors
)

var keeps = []Keep{Nothing, Metadata, Answers, All}

// Answers says that answers are kept.
func (k Keep) Answers() bool { return k == Answers || k == All }

// Destination is where records go.
type Destination string

// Destinations.
const (
	Database Destination = "database"
	Bucket   Destination = "bucket" // as objects of JSON lines; they are not queried
	Nowhere  Destination = "none"
)

var destinations = []Destination{Database, Bucket, Nowhere}

// Limits of policies.
const (
	MaxDays       = 3660 // of retention
	MaxRedactions = 32   // of a policy
	MaxPattern    = 512  // bytes of a pattern
	MaxField      = 256  // bytes of a field's path
	maxName       = 128  // bytes of a tenant's name, or a model's
)

// Any stands for every tenant or model.
const Any = "*"

// Policy says what is kept of the requests of a tenant to a model. There is at most one per pair.
type Policy struct {
	Tenant  string      `json:"tenant"` // a name, or Any
	Model   string      `json:"model"`  // a name, "team/*" or Any
	Keep    Keep        `json:"keep"`
	Days    int         `json:"days,omitempty"` // that records are kept, 1 to MaxDays; 0 with Nothing
	Redact  []Redaction `json:"redact,omitempty"`
	To      Destination `json:"to,omitempty"` // default Database
	Comment string      `json:"comment,omitempty"`
}

// maxID bounds what names a policy, in bytes.
const maxID = 128

// ID names a policy by its pair, in visible characters: tenant/model, or where that is too long, its beginning and a hash.
func (p Policy) ID() string {
	id := p.Tenant + "/" + p.Model
	if len(id) <= maxID {
		return id
	}
	hash := sha256.Sum256([]byte(id))
	return id[:maxID-33] + "#" + hex.EncodeToString(hash[:16])
}

// Invalid says what is wrong with a policy, a filter or a question.
type Invalid struct{ What, Why string }

func (e *Invalid) Error() string { return e.What + ": " + e.Why }

func invalid(what, format string, args ...any) error {
	return &Invalid{what, fmt.Sprintf(format, args...)}
}

// Validate checks a policy. The error is an *Invalid.
func (p Policy) Validate() error {
	switch {
	case !named(p.Tenant) || p.Tenant != Any && strings.Contains(p.Tenant, Any):
		return invalid("tenant", "%.40q: want a tenant's name, or * for every tenant", p.Tenant)
	case !named(p.Model) || strings.Contains(strings.TrimSuffix(p.Model, Any), Any) || strings.HasSuffix(p.Model, Any) && p.Model != Any && !strings.HasSuffix(p.Model, "/*"):
		return invalid("model", "%.40q: want a model's name, team/* for all of a team, or * for every model", p.Model)
	case !slices.Contains(keeps, p.Keep):
		return invalid("keep", "%.40q: want none, metadata, answers or all", p.Keep)
	case p.To != "" && !slices.Contains(destinations, p.To):
		return invalid("to", "%.40q: want database, bucket or none", p.To)
	case p.Keeps() && (p.Days < 1 || p.Days > MaxDays):
		return invalid("days", "%d: want 1 to %d", p.Days, MaxDays)
	case p.Days < 0 || p.Days > MaxDays:
		return invalid("days", "%d: want 0 to %d", p.Days, MaxDays)
	case len(p.Redact) > MaxRedactions:
		return invalid("redact", "%d redactions, at most %d are allowed", len(p.Redact), MaxRedactions)
	case len(p.Comment) > MaxText:
		return invalid("comment", "%d bytes, at most %d are allowed", len(p.Comment), MaxText)
	}
	for _, r := range p.Redact {
		if _, err := r.compile(); err != nil {
			return err
		}
	}
	return nil
}

// named says that a text can be a name: not empty, of visible characters of ASCII, as names of tenants and models are.
func named(s string) bool {
	return s != "" && len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// Keeps says that records are made.
func (p Policy) Keeps() bool { return p.Keep != Nothing && p.Keep != "" && p.To != Nowhere }

// Destination is where records go.
func (p Policy) Destination() Destination { return cmp.Or(p.To, Database) }

// Rule is a policy that is ready to be applied. Its zero value keeps nothing.
type Rule struct {
	Policy
	redactions []redactor
}

// Rule makes a policy ready.
func (p Policy) Rule() (Rule, error) {
	out := Rule{Policy: p}
	if err := p.Validate(); err != nil {
		return out, err
	}
	for _, r := range p.Redact {
		c, err := r.compile()
		if err != nil {
			return out, err
		}
		out.redactions = append(out.redactions, c)
	}
	return out, nil
}

// Rules are policies by the pairs that they are about.
type Rules map[string]Rule

// Of finds the rule for a tenant's requests to a model: one that names the tenant comes before one for every tenant, and then the one that names the
// model most closely. Without one nothing is kept.
func (s Rules) Of(tenant, model string) Rule {
	for _, who := range []string{tenant, Any} {
		pattern := model
		for cut := len(model); ; {
			if r, ok := s[Policy{Tenant: who, Model: pattern}.ID()]; ok {
				return r
			}
			if pattern == Any {
				break
			}
			cut = strings.LastIndexByte(model[:cut], '/')
			if pattern = Any; cut >= 0 {
				pattern = model[:cut+1] + Any
			}
			cut = max(cut, 0)
		}
	}
	return Rule{}
}

// Redaction says what is taken out of a record before it leaves the process that answered.
type Redaction struct {
	Field   string `json:"field,omitempty"`   // path as "request.messages.*.content", where * is any one name or position; "" = every text of both bodies
	Pattern string `json:"pattern,omitempty"` // RE2 of what is taken out of texts; "" = the whole value
	With    string `json:"with,omitempty"`    // what stands there then; default "[redacted]"
}

// Redacted stands where something was taken out.
const Redacted = "[redacted]"

// redactor is a Redaction that is ready.
type redactor struct {
	path    []string
	pattern *regexp.Regexp // nil = the whole value
	whole   *regexp.Regexp // pattern, of a text as a whole
	with    string
}

func (r Redaction) compile() (redactor, error) {
	out := redactor{with: cmp.Or(r.With, Redacted)}
	switch {
	case r.Field == "" && r.Pattern == "":
		return out, invalid("redact", "want a field, a pattern, or both")
	case len(r.Field) > MaxField || len(r.With) > MaxField:
		return out, invalid("redact", "a field or what replaces it has more than %d bytes", MaxField)
	case len(r.Pattern) > MaxPattern:
		return out, invalid("redact", "a pattern of %d bytes, at most %d are allowed", len(r.Pattern), MaxPattern)
	}
	if r.Field != "" {
		out.path = strings.Split(r.Field, ".")
		if out.path[0] != "request" && out.path[0] != "answer" || slices.Contains(out.path, "") {
			return out, invalid("redact", "field %.80q: want request or answer, and names behind it, as request.messages.*.content", r.Field)
		}
	}
	if r.Pattern != "" {
		var err error
		if out.pattern, err = regexp.Compile(r.Pattern); err != nil {
			return out, invalid("redact", "pattern %.80q: %v", r.Pattern, err)
		}
		if out.whole, err = regexp.Compile("^(?:" + r.Pattern + ")$"); err != nil {
			return out, invalid("redact", "pattern %.80q: %v", r.Pattern, err)
		}
	}
	return out, nil
}
