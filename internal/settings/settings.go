// Package settings reads the configuration of a server: a strict YAML file, then the environment, then flags, and remembers where each value came from.
package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"
)

// Format is the version of configuration files that this package reads.
const Format = 1

// maxFile bounds a configuration file in bytes.
const maxFile = 1 << 20

// Prefix of the environment variables: the setting "log_level" is SKEIN_LOG_LEVEL.
const Prefix = "SKEIN_"

// ErrFile is wrapped by every refusal of a configuration file.
var ErrFile = errors.New("settings: configuration file refused")

// ErrValue says that a text is no value of its setting.
var ErrValue = errors.New("settings: not a value")

// Settings are the fields of a struct that people may set. A field is a string, bool, integer, float64, time.Duration or list of strings. Its tags
// are yaml (its key; "-" = not a setting; ",inline" on an embedded struct), help, and secret:"true" for what is never printed.
type Settings struct {
	into   any
	fields []*field
}

// field is one setting.
type field struct {
	key, help string
	secret    bool
	value     reflect.Value
	texts     []string // given by flags
	origin    string
}

// Of lists the settings of the struct that into points at. Values that it has already are the defaults.
func Of(into any) *Settings {
	s := &Settings{into: into}
	s.add(reflect.ValueOf(into).Elem())
	return s
}

func (s *Settings) add(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key, inline, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case inline == "inline":
			s.add(v.Field(i))
		case key != "-" && key != "":
			s.fields = append(s.fields, &field{key: key, help: f.Tag.Get("help"), secret: f.Tag.Get("secret") == "true", value: v.Field(i), origin: "default"})
		}
	}
}

// Flags adds a flag for each setting: "log_level" is --log-level.
func (s *Settings) Flags(fs *pflag.FlagSet) {
	for _, f := range s.fields {
		flag := fs.VarPF(f, strings.ReplaceAll(f.key, "_", "-"), "", f.help)
		if f.value.Kind() == reflect.Bool {
			flag.NoOptDefVal = "true"
		}
	}
}

// Set implements pflag.Value: what flags say is kept until Load, because flags win.
func (f *field) Set(text string) error {
	if _, err := parse(f.value.Type(), []string{text}); err != nil {
		return err
	}
	f.texts = append(f.texts, text)
	return nil
}

// Type implements pflag.Value.
func (f *field) Type() string {
	switch {
	case f.value.Type() == reflect.TypeFor[time.Duration]():
		return "duration"
	case f.value.Kind() == reflect.Slice:
		return "text (repeatable)"
	case f.value.Kind() == reflect.Bool:
		return ""
	case f.value.Kind() == reflect.String:
		return "text"
	}
	return "number"
}

// String implements pflag.Value.
func (f *field) String() string {
	if !f.value.IsValid() || f.value.IsZero() {
		return ""
	}
	if f.value.Kind() == reflect.Slice {
		return strings.Join(f.value.Interface().([]string), ",")
	}
	return fmt.Sprint(f.value.Interface())
}

// Load reads the file ("" = none), then the environment, then the flags that were given. Unknown keys of the file are refused.
func (s *Settings) Load(file string, env func(string) (string, bool)) error {
	if file != "" {
		if err := s.read(file); err != nil {
			return err
		}
	}
	for _, f := range s.fields {
		name := Prefix + strings.ToUpper(f.key)
		if text, ok := env(name); ok {
			texts := []string{text}
			if f.value.Kind() == reflect.Slice {
				texts = strings.Split(text, ",")
			}
			if err := f.take(texts, name); err != nil {
				return err
			}
		}
		if len(f.texts) > 0 {
			if err := f.take(f.texts, "--"+strings.ReplaceAll(f.key, "_", "-")); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *field) take(texts []string, origin string) error {
	v, err := parse(f.value.Type(), texts)
	if err != nil {
		return fmt.Errorf("%s: %w", origin, err)
	}
	f.value.Set(v)
	f.origin = origin
	return nil
}

// read decodes the file into the struct, and notes which keys it had.
func (s *Settings) read(file string) error {
	r, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFile, err)
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFile, err)
	}
	if len(text) > maxFile {
		return fmt.Errorf("%w: %s has more than %d bytes", ErrFile, file, maxFile)
	}
	var keys map[string]yaml.Node
	if err := yaml.Unmarshal(text, &keys); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrFile, file, err)
	}
	if v := keys["version"]; v.Value != strconv.Itoa(Format) {
		return fmt.Errorf("%w: %s: want the line \"version: %d\"", ErrFile, file, Format)
	}
	known := map[string]*field{}
	for _, f := range s.fields {
		known[f.key] = f
	}
	delete(keys, "version")
	for key, node := range keys {
		f, ok := known[key]
		if !ok {
			return fmt.Errorf("%w: %s:%d: there is no setting %.80q", ErrFile, file, node.Line, key)
		}
		f.origin = file
	}
	return s.decode(file, text)
}

// decode decodes strictly, with the version beside the settings.
func (s *Settings) decode(file string, text []byte) error {
	whole := reflect.New(reflect.StructOf([]reflect.StructField{
		{Name: "Version", Type: reflect.TypeFor[int](), Tag: `yaml:"version"`},
		{Name: "Settings", Type: reflect.TypeOf(s.into).Elem(), Tag: `yaml:",inline"`},
	}))
	whole.Elem().Field(1).Set(reflect.ValueOf(s.into).Elem())
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(whole.Interface()); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrFile, file, err)
	}
	reflect.ValueOf(s.into).Elem().Set(whole.Elem().Field(1))
	return nil
}

// parse makes a value of a type: of the last text, or of all of them for a list.
func parse(t reflect.Type, texts []string) (v reflect.Value, err error) {
	text := texts[len(texts)-1]
	v = reflect.New(t).Elem()
	switch {
	case t == reflect.TypeFor[time.Duration]():
		var d time.Duration
		d, err = time.ParseDuration(text)
		v.SetInt(int64(d))
	case t.Kind() == reflect.String:
		v.SetString(text)
	case t.Kind() == reflect.Bool:
		var b bool
		b, err = strconv.ParseBool(text)
		v.SetBool(b)
	case t.Kind() == reflect.Float64:
		var f float64
		f, err = strconv.ParseFloat(text, 64)
		v.SetFloat(f)
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		var n int64
		n, err = strconv.ParseInt(text, 10, t.Bits())
		v.SetInt(n)
	case t == reflect.TypeFor[[]string]():
		v.Set(reflect.ValueOf(texts))
	default:
		return v, fmt.Errorf("%w: settings of type %s are not read", ErrValue, t)
	}
	if err != nil {
		return v, fmt.Errorf("%w: %.80q is no %s", ErrValue, text, t)
	}
	return v, nil
}

// Print writes the effective values as YAML, with origins as a table that says where each came from. Secrets are not shown.
func (s *Settings) Print(w io.Writer, origins bool) error {
	if origins {
		return s.printOrigins(w)
	}
	whole := yaml.Node{Kind: yaml.MappingNode}
	put := func(key string, value any) error {
		var k, v yaml.Node
		k.SetString(key)
		if err := v.Encode(value); err != nil {
			return err
		}
		whole.Content = append(whole.Content, &k, &v)
		return nil
	}
	if err := put("version", Format); err != nil {
		return err
	}
	for _, f := range s.fields {
		if f.secret || f.value.IsZero() {
			continue
		}
		if err := put(f.key, f.value.Interface()); err != nil {
			return err
		}
	}
	out, err := yaml.Marshal(&whole)
	if err == nil {
		_, err = w.Write(out)
	}
	return err
}

func (s *Settings) printOrigins(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SETTING\tVALUE\tFROM")
	for _, f := range s.fields {
		value := f.String()
		if f.secret && value != "" {
			value = "(secret)"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.key, value, f.origin)
	}
	return t.Flush()
}
