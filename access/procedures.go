package access

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
)

// Procedures says which permission each procedure needs, by its path ("/skein.admin.v1.NodeService/Drain"). Those that are not in it
// are nobody's.
type Procedures map[string]Permission

// Of reads the option skein.access.v1.requires of every RPC in files. RPCs without it, or with a permission that no role could give, are
// left out.
func Of(files ...protoreflect.FileDescriptor) Procedures {
	out := Procedures{}
	for _, f := range files {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				p, ok := proto.GetExtension(m.Options(), accessv1.E_Requires).(Permission)
				if _, known := givers[p]; ok && known {
					out["/"+string(s.FullName())+"/"+string(m.Name())] = p
				}
			}
		}
	}
	return out
}

// Requires is the permission that a procedure needs. If there is none the call is refused.
func (p Procedures) Requires(procedure string) (Permission, bool) {
	want, ok := p[procedure]
	return want, ok
}
