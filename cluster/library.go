package cluster

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/skein-project/skein/model"
)

// Model is what people write about a model. A model without a record belongs to DefaultTenant.
type Model struct {
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Owner       string            `json:"owner,omitempty"` // tenant whose publishers may change it; "" = DefaultTenant
	Tags        []string          `json:"tags,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Defaults    *Defaults         `json:"defaults,omitempty"`
	Rev         Index             `json:"rev"`
}

// Defaults are what a request gets where it says nothing. A field that is nil leaves it to the version.
type Defaults struct {
	Temperature *float64 `json:"temperature,omitempty"`
	TopK        *int     `json:"top_k,omitempty"`
	TopP        *float64 `json:"top_p,omitempty"`
	MaxTokens   *int     `json:"max_tokens,omitempty"`
}

// Over lays the defaults over a version's own sampling parameters.
func (d *Defaults) Over(s model.Sampling) model.Sampling {
	if d == nil {
		return s
	}
	if d.Temperature != nil {
		s.Temperature = *d.Temperature
	}
	if d.TopK != nil {
		s.TopK = *d.TopK
	}
	if d.TopP != nil {
		s.TopP = *d.TopP
	}
	return s
}

// Traits are what clients of a version rely on.
type Traits struct {
	Inputs   []string `json:"inputs"`              // tasks it does, sorted
	Labels   string   `json:"labels,omitempty"`    // SHA-256 of its labels in order; "" = it has none
	Vector   int      `json:"vector,omitempty"`    // numbers of a sentence vector; 0 = it makes none
	Context  int      `json:"context"`             // tokens of the longest sequence
	Template string   `json:"template,omitempty"`  // SHA-256 of its chat template; "" = it has none
	Tokens   string   `json:"tokenizer,omitempty"` // SHA-256 of its tokenizer's file; "" = it has none
}

// Breaks names what clients of one version would miss in another one.
func (t *Traits) Breaks(next *Traits) (what []string) {
	if t == nil || next == nil {
		return nil
	}
	for _, in := range t.Inputs {
		if !slices.Contains(next.Inputs, in) {
			what = append(what, "inputs: "+in+" is gone")
		}
	}
	if t.Labels != next.Labels {
		what = append(what, "labels")
	}
	if t.Vector != next.Vector {
		what = append(what, "vector dimension")
	}
	if next.Context < t.Context {
		what = append(what, "context")
	}
	if t.Template != next.Template {
		what = append(what, "template")
	}
	return what
}

// Rollout is how an alias tries a version out before it points there.
type Rollout struct {
	Canary *Canary `json:"canary,omitempty"`
	Shadow *Shadow `json:"shadow,omitempty"`
	Guard  *Guard  `json:"guard,omitempty"`
	Follow bool    `json:"follow,omitempty"`   // point at the newest version of the target's model as soon as it answers
	Retire int     `json:"retire_s,omitempty"` // seconds after a flip after which the version before is served no longer; 0 = it stays
}

// Canary sends a part of the requests to another version.
type Canary struct {
	Version VersionID `json:"version"`
	Percent int       `json:"percent"`           // of the requests, 0 to 100
	Tenants []string  `json:"tenants,omitempty"` // all requests of these go there too
	Since   Millis    `json:"since"`
}

// Shadow sends copies of a part of the requests to another version, whose answers are compared and thrown away.
type Shadow struct {
	Version VersionID `json:"version"`
	Percent int       `json:"percent"` // of the requests, 1 to 100
}

// Guard says when the cluster takes a flip or a canary back by itself. A limit that is 0 is not looked at.
type Guard struct {
	Requests      int   `json:"requests"`                 // seen before anything is judged
	WindowSeconds int   `json:"window_s"`                 // that are looked at
	ErrorPercent  int   `json:"error_percent,omitempty"`  // more failed requests than this
	P95Millis     int64 `json:"p95_ms,omitempty"`         // a slower answer
	ParityPercent int   `json:"parity_percent,omitempty"` // fewer equal answers of the shadow than this
}

// Model finds a model's record; a model without one has a plain one, with Rev 0. Whose a model is is known also while it has no version.
func (s State) Model(name string) Model {
	m, ok := s.models.Get(text(name))
	if !ok {
		l, _ := s.lineages.Get(text(name))
		return Model{Name: name, Owner: cmp.Or(l.Owner, DefaultTenant)}
	}
	return m
}

// NotYours is what a tenant is told of a name that it may not publish under: that it is taken, which cannot be hidden from who wants
// to take it, and neither by whom nor for what.
const NotYours = "the name is not yours to use"

// MayPublish says whether a tenant may publish under a name: nobody ever did and it leads to nobody else's model, or the model is its own.
func (s State) MayPublish(tenant, name string) bool {
	if s.NextNumber(name) > 1 {
		return s.Model(name).Owner == tenant
	}
	a, led := s.Alias(name)
	return !led || s.Model(a.Target.Model).Owner == tenant
}

// Models yields the models' records by name.
func (s State) Models() iter.Seq[Model] { return s.models.Values() }

// Tenants yields the tenants that were written, by id.
func (s State) Tenants() iter.Seq[Tenant] { return s.tenants.Values() }

// Applications yields the applications of a tenant by id.
func (s State) Applications(tenant string) iter.Seq[Application] {
	return prefix(s.apps, AppID{Tenant: tenant}, func(a AppID) bool { return a.Tenant == tenant })
}

// PutModel creates or changes what is written about a model.
type PutModel struct {
	Model Model `json:"model"`
	Was   Index `json:"was"`
}

// SetRollout sets or (nil) ends an alias's rollout. Canary and shadow must be versions; a canary of any size must answer, and must
// break nothing for the target's clients, unless Force and Accept say otherwise.
type SetRollout struct {
	Name    string   `json:"name"`
	Rollout *Rollout `json:"rollout"`
	Force   bool     `json:"force,omitempty"`
	Accept  bool     `json:"accept,omitempty"`
	Was     Index    `json:"was"`
}

// SetScale is the scheduler's decision about a deployment that follows demand.
type SetScale struct {
	Version  VersionID `json:"version"`
	Replicas int       `json:"replicas"`
	Why      string    `json:"why"`
	Was      Index     `json:"was"`
}

func (PutModel) tag() string   { return "put_model" }
func (SetRollout) tag() string { return "set_rollout" }
func (SetScale) tag() string   { return "set_scale" }

func (s *State) putModel(c PutModel) error {
	m, subject := c.Model, "model "+c.Model.Name
	if _, _, err := before(s.models, text(m.Name), c.Was, subject, MaxModels); err != nil {
		return err
	}
	switch {
	case !ValidName(m.Name):
		return reject(ReasonInvalid, "model", "malformed name %.200q", m.Name)
	case !s.published(m.Name):
		return reject(ReasonNotFound, subject, "it has no version")
	case utf8.RuneCountInString(m.Description) > MaxText:
		return reject(ReasonLimit, subject, "description over %d characters", MaxText)
	case len(m.Tags) > MaxTags || len(m.Labels) > MaxTags:
		return reject(ReasonLimit, subject, "%d tags and %d labels, at most %d of each are allowed", len(m.Tags), len(m.Labels), MaxTags)
	case slices.ContainsFunc(m.Tags, func(t string) bool { return !visible(t, MaxName) }):
		return reject(ReasonInvalid, subject, "malformed tag")
	}
	for _, k := range slices.Sorted(maps.Keys(m.Labels)) {
		if !visible(k, MaxName) || !label(m.Labels[k]) {
			return reject(ReasonInvalid, subject, "malformed label %.128q", k)
		}
	}
	if d := m.Defaults; d != nil {
		if err := d.Over(model.Sampling{TopP: 1}).Validate(); err != nil {
			return reject(ReasonInvalid, subject, "defaults: %v", err)
		}
		if d.MaxTokens != nil && (*d.MaxTokens < 1 || *d.MaxTokens > MaxWidth) {
			return reject(ReasonInvalid, subject, "defaults: max_tokens is %d, want at least 1", *d.MaxTokens)
		}
	}
	if m.Owner == "" {
		m.Owner = DefaultTenant
	}
	if _, ok := s.Tenant(m.Owner); !ok {
		return reject(ReasonNotFound, subject, "tenant %.64s does not exist", m.Owner)
	}
	m.Tags, m.Labels, m.Rev = slices.Clone(m.Tags), maps.Clone(m.Labels), s.index
	s.models = s.models.Set(text(m.Name), m)
	return nil
}

// published says whether a model has a version.
func (s *State) published(model string) bool {
	for range s.VersionsOf(model) {
		return true
	}
	return false
}

func (s *State) setRollout(c SetRollout) error {
	subject := "alias " + c.Name
	a, err := existing(s.aliases, text(c.Name), c.Was, subject)
	if err != nil {
		return err
	}
	if c.Rollout != nil {
		r := *c.Rollout
		if err := s.checkRollout(a, &r, c, subject); err != nil {
			return err
		}
		c.Rollout = &r
	}
	a.Rollout, a.Rev = c.Rollout, s.index
	s.aliases = s.aliases.Set(text(a.Name), a)
	return nil
}

func (s *State) checkRollout(a Alias, r *Rollout, c SetRollout, subject string) error {
	if r.Canary != nil {
		n := *r.Canary
		switch {
		case n.Percent < 0 || n.Percent > 100 || len(n.Tenants) > MaxTenantsOf:
			return reject(ReasonInvalid, subject, "canary: %d %% and %d tenants, 0 to 100 and at most %d are allowed", n.Percent, len(n.Tenants), MaxTenantsOf)
		case n.Version == a.Target:
			return reject(ReasonInvalid, subject, "canary: the alias points at %s already", a.Target)
		case slices.ContainsFunc(n.Tenants, func(t string) bool { return !validID(t) }):
			return reject(ReasonInvalid, subject, "canary: malformed tenant")
		}
		if err := s.checkTarget(a.Target, n.Version, c.Force, c.Accept, subject); err != nil {
			return err
		}
		if n.Tenants, n.Since = slices.Clone(n.Tenants), s.at; a.Rollout != nil && a.Rollout.Canary != nil && a.Rollout.Canary.Version == n.Version {
			n.Since = a.Rollout.Canary.Since
		}
		r.Canary = &n
	}
	if r.Shadow != nil {
		switch {
		case r.Shadow.Percent < 1 || r.Shadow.Percent > 100:
			return reject(ReasonInvalid, subject, "shadow: %d %%, 1 to 100 are allowed", r.Shadow.Percent)
		case !s.versions.Has(r.Shadow.Version):
			return reject(ReasonNotFound, subject, "shadow: version %s does not exist", r.Shadow.Version)
		}
	}
	if r.Retire < 0 || r.Retire > MaxRetire {
		return reject(ReasonInvalid, subject, "retire: %d s, 0 to %d are allowed", r.Retire, MaxRetire)
	}
	if g := r.Guard; g != nil {
		if g.Requests < 1 || g.WindowSeconds < 1 || g.WindowSeconds > 24*60*60 || g.ErrorPercent < 0 || g.ErrorPercent > 100 || g.P95Millis < 0 || g.ParityPercent < 0 || g.ParityPercent > 100 {
			return reject(ReasonInvalid, subject, "guard: a limit is out of range")
		}
	}
	return nil
}

// checkTarget refuses a version that clients of another one should not be led to: one that answers nothing while theirs does, and one
// that breaks what they rely on.
func (s *State) checkTarget(from, to VersionID, force, accept bool, subject string) error {
	next, ok := s.versions.Get(to)
	if !ok {
		return reject(ReasonNotFound, subject, "version %s does not exist", to)
	}
	if !force {
		if err := s.checkFlip(from, to, subject); err != nil {
			return err
		}
	}
	was, ok := s.versions.Get(from)
	if what := was.Traits.Breaks(next.Traits); ok && !accept && len(what) > 0 {
		return reject(ReasonIncompatible, subject, "%s differs from %s in what its clients rely on: %s", to, from, strings.Join(what, ", "))
	}
	return nil
}

func (s *State) setScale(c SetScale) error {
	subject := "deployment " + c.Version.String()
	d, err := existing(s.deployments, c.Version, c.Was, subject)
	switch {
	case err != nil:
		return err
	case d.Need == nil:
		return reject(ReasonInvalid, subject, "its replicas do not follow demand")
	case c.Replicas < d.Need.Min || c.Replicas > d.Need.Max:
		return reject(ReasonLimit, subject, "%d replicas, %d to %d are allowed", c.Replicas, d.Need.Min, d.Need.Max)
	}
	d.Scale, d.Rev = &Scale{Replicas: c.Replicas, Why: clip(c.Why), At: s.at}, s.index
	s.deployments = s.deployments.Set(d.Version, d)
	return nil
}

func checkNeed(n *Need, subject string) error {
	if n == nil {
		return nil
	}
	switch {
	case n.Min < 0 || n.Max < 1 || n.Min > n.Max || n.Max > MaxReplicas:
		return reject(ReasonInvalid, subject, "%d to %d replicas: want 0 ≤ min ≤ max, 1 ≤ max ≤ %d", n.Min, n.Max, MaxReplicas)
	case n.FirstToken < 0 || n.Latency < 0 || n.Percent < 0 || n.Percent > 99:
		return reject(ReasonInvalid, subject, "its times or percentage are out of range")
	case n.Priority < -100 || n.Priority > 100:
		return reject(ReasonInvalid, subject, "a priority of %d, −100 to 100 are allowed", n.Priority)
	}
	return nil
}
