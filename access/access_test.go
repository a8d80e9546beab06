package access

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	_ "github.com/skein-project/skein/api/inference"
	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	_ "github.com/skein-project/skein/api/skein/admin/v1"
	_ "github.com/skein-project/skein/api/skein/inference/v1"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what it was: run with -rewrite and read the difference\n%s", path, got)
	}
}

// permissions are all there are but the unspecified one.
func permissions() (out []Permission) {
	values := accessv1.Permission(0).Descriptor().Values()
	for i := range values.Len() {
		if p := Permission(values.Get(i).Number()); p != accessv1.Permission_PERMISSION_UNSPECIFIED {
			out = append(out, p)
		}
	}
	return out
}

func short(p Permission) string { return strings.TrimPrefix(p.String(), "PERMISSION_") }

// The matrix of roles and permissions is a file, so that who may do more is read in review: x everywhere, t in the own tenant.
func TestMatrix(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "%-18s", "")
	for _, r := range Roles() {
		fmt.Fprintf(&b, " %-9s", r)
	}
	b.WriteString("\n")
	for _, p := range permissions() {
		fmt.Fprintf(&b, "%-18s", short(p))
		for _, r := range Roles() {
			mark := "."
			switch roles := []Role{r}; {
			case AllowsEverywhere(roles, p):
				mark = "x"
			case Allows(roles, p):
				mark = "t"
			}
			fmt.Fprintf(&b, " %-9s", mark)
		}
		b.WriteString("\n")
	}
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	golden(t, "matrix.txt", strings.Join(lines, "\n"))
}

func TestDeniedByDefault(t *testing.T) {
	for _, p := range []Permission{accessv1.Permission_PERMISSION_UNSPECIFIED, -1, 9999} {
		if Allows(Roles(), p) || AllowsEverywhere(Roles(), p) {
			t.Errorf("%v is given", p)
		}
	}
	for _, p := range permissions() {
		if _, ok := givers[p]; !ok {
			t.Errorf("%s is in no role", short(p))
		}
		for _, roles := range [][]Role{nil, {""}, {"Admin"}, {"root"}, {"admin "}} {
			if Allows(roles, p) || AllowsEverywhere(roles, p) {
				t.Errorf("%q may %s", roles, short(p))
			}
		}
		if !Allows([]Role{Viewer, Caller, Admin}, p) {
			t.Errorf("admin among others may not %s", short(p))
		}
	}
	for p, roles := range givers {
		if !slices.Contains(permissions(), p) {
			t.Errorf("%d is no permission", p)
		}
		for _, r := range roles {
			if !r.Valid() || r == Admin {
				t.Errorf("%s is given by %q", short(p), r)
			}
		}
	}
	if Role("").Valid() || Role("root").Valid() {
		t.Error("unknown roles are valid")
	}
}

// services lists the files of Skein's own services: all that are linked in, also those that are not written yet.
func services() (files []protoreflect.FileDescriptor) {
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if own := strings.HasPrefix(string(f.Package()), "skein.") || f.Package() == "inference"; own && f.Services().Len() > 0 {
			files = append(files, f)
		}
		return true
	})
	return files
}

// missing lists the RPCs of files for which a table has no permission.
func missing(p Procedures, files []protoreflect.FileDescriptor) (out []string) {
	for _, f := range files {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				name := fmt.Sprintf("/%s/%s", s.FullName(), s.Methods().Get(j).Name())
				if _, ok := p.Requires(name); !ok {
					out = append(out, name)
				}
			}
		}
	}
	return out
}

// Every RPC says what it needs (attack case 1). The table is a file, so that a lower demand is read in review.
func TestEveryProcedure(t *testing.T) {
	files := services()
	if len(files) < 2 {
		t.Fatalf("%d files", len(files))
	}
	sources, err := filepath.Glob("../api/skein/*/v*/*.proto")
	sources = append(sources, "../api/inference/inference.proto")
	if err != nil || len(sources) < 3 {
		t.Fatal(sources, err)
	}
	for _, path := range sources {
		if _, err := protoregistry.GlobalFiles.FindFileByPath(strings.TrimPrefix(filepath.ToSlash(path), "../api/")); err != nil {
			t.Errorf("%s is not linked into this test: import its package here, or generate it: %v", path, err)
		}
	}
	p := Of(files...)
	for _, name := range missing(p, files) {
		t.Errorf("%s requires nothing: give it option (skein.access.v1.requires)", name)
	}
	var lines []string
	for name, want := range p {
		lines = append(lines, fmt.Sprintf("%s %s\n", name, short(want)))
	}
	slices.Sort(lines)
	golden(t, "procedures.txt", strings.Join(lines, ""))
}

// An RPC without the option, with the unspecified permission or with an unknown one is in no table.
func TestNewProcedureIsDenied(t *testing.T) {
	method := func(name string, p *Permission) *descriptorpb.MethodDescriptorProto {
		m := &descriptorpb.MethodDescriptorProto{Name: proto.String(name), InputType: proto.String(".skein.test.E"), OutputType: proto.String(".skein.test.E")}
		if p != nil {
			m.Options = &descriptorpb.MethodOptions{}
			proto.SetExtension(m.Options, accessv1.E_Requires, *p)
		}
		return m
	}
	f, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("test.proto"), Package: proto.String("skein.test"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("E")}},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("S"), Method: []*descriptorpb.MethodDescriptorProto{
			method("Bare", nil),
			method("Unspecified", accessv1.Permission_PERMISSION_UNSPECIFIED.Enum()),
			method("Unknown", Permission(9999).Enum()),
			method("Good", accessv1.Permission_PERMISSION_INFER.Enum()),
		}}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	p := Of(f)
	if want, ok := p.Requires("/skein.test.S/Good"); !ok || want != accessv1.Permission_PERMISSION_INFER {
		t.Errorf("Good: %v %v", want, ok)
	}
	want := []string{"/skein.test.S/Bare", "/skein.test.S/Unspecified", "/skein.test.S/Unknown"}
	if got := missing(p, []protoreflect.FileDescriptor{f}); !slices.Equal(got, want) {
		t.Errorf("missing %q, want %q", got, want)
	}
	for _, name := range []string{"", "/", "skein.test.S/Good", "/skein.test.S/good", "/skein.test.S/Good/"} {
		if _, ok := p.Requires(name); ok {
			t.Errorf("%q is somebody's", name)
		}
	}
}
