package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/skein-project/skein/engine/ort"
)

// variable names a folder of programs that were built just now, so that they need not be built again ("make test" sets it).
const variable = "SKEIN_BIN"

// built is the folder of the programs, built once for all tests of this package.
var built = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv(variable); bin != "" {
		return bin, nil
	}
	bin, err := os.MkdirTemp("", "skein-e2e-")
	if err != nil {
		return "", err
	}
	for program, source := range map[string]string{"skein": "skein", "skein-coordinator": "coordinator", "skein-node": "node", "skein-gateway": "gateway"} {
		out, err := exec.Command("go", "build", "-o", filepath.Join(bin, program), "github.com/skein-project/skein/cmd/"+source).CombinedOutput()
		if err != nil {
			return bin, fmt.Errorf("build %s: %w\n%s", program, err, out)
		}
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv(ort.Variable) != "" && os.Getenv(variable) == "" {
		if bin, err := built(); bin != "" || err != nil {
			os.RemoveAll(bin)
		}
	}
	os.Exit(code)
}

// library is the ONNX Runtime library that nodes need; without one the test is skipped.
func library(t testing.TB) string {
	t.Helper()
	path := os.Getenv(ort.Variable)
	if path == "" {
		t.Skipf("%s is not set: nodes need the ONNX Runtime library (make ort)", ort.Variable)
	}
	return path
}

// programs is the folder of the built programs. Every test of them needs nodes, so it is skipped without the library.
func programs(t testing.TB) string {
	t.Helper()
	library(t)
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// root is the folder of the repository.
func root(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
