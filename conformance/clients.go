package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// subject is a client that the fleet is called with. Its program prints one line of JSON for each check.
type subject struct {
	name  string
	needs []string // programs and files without which it does not run
	run   []string // program and arguments; @ is the root of the project
	why   string   // it is not run, and why; "" = it is
}

// Paths of what scripts/fetch-clients.sh fetches and builds.
const (
	openAIGo     = "build/conformance/openai-go"
	javaBuilt    = "build/conformance/java"
	typeScript   = "build/conformance/typescript"
	pythonOpenAI = "build/conformance/python/bin/python"
	pythonOIP    = "build/conformance/oip/bin/python"
	nodeModules  = "build/conformance/node/node_modules"
)

// subjects are all clients, in the order of the table.
func subjects() []subject {
	python := func(name, venv, script string) subject {
		return subject{name: name, needs: []string{venv}, run: []string{"@" + venv, "@conformance/python/" + script}}
	}
	node := func(name, script string) subject {
		return subject{name: name, needs: []string{"node", nodeModules}, run: []string{"node", "@conformance/node/" + script}}
	}
	return []subject{
		python("openai-python", pythonOpenAI, "openai_client.py"),
		node("openai-node", "openai_client.mjs"),
		{name: "openai-go", needs: []string{openAIGo}, run: []string{"@" + openAIGo}},
		python("anthropic-python", pythonOpenAI, "anthropic_client.py"),
		python("LangChain", pythonOpenAI, "langchain_client.py"),
		python("LiteLLM", pythonOpenAI, "litellm_client.py"),
		node("Vercel AI SDK", "ai_client.mjs"),
		python("tritonclient http", pythonOIP, "triton_http.py"),
		python("tritonclient grpc", pythonOIP, "triton_grpc.py"),
		python("KServe client", pythonOIP, "kserve_client.py"),
		{name: "grpc-java", needs: []string{"java", javaBuilt + "/classes"},
			run: []string{"java", "-cp", "@" + javaBuilt + "/classes:@" + javaBuilt + "/lib/*", "skein.Main"}},
		{name: "grpc-dotnet", why: "examples/clients/csharp is source that nothing here compiles: there is no .NET"},
		{name: "grpcurl", needs: []string{"python3", "build/tools/grpcurl"}, run: []string{"python3", "@conformance/python/grpcurl.py"}},
		{name: "buf curl", needs: []string{"python3", nodeModules}, run: []string{"python3", "@conformance/python/buf_curl.py"}},
		{name: "skein (Python SDK)", needs: []string{"python3"}, run: []string{"python3", "@conformance/python/sdk.py"}},
		{name: "skein (TypeScript SDK)", needs: []string{"node", typeScript}, run: []string{"node", "@conformance/node/sdk.mjs"}},
		{name: "skein (TypeScript SDK) in Chromium", needs: []string{"node", typeScript, nodeModules + "/@sparticuz/chromium"}, run: []string{"node", "@conformance/node/browser.mjs"}},
	}
}

// check is what a client's program says.
type check struct {
	Client  string `json:"client,omitempty"` // the first line: which client it is
	Version string `json:"version,omitempty"`
	Check   string `json:"check,omitempty"`
	OK      bool   `json:"ok"`
	Why     string `json:"why,omitempty"` // it failed, or what was not asked
	Skipped bool   `json:"skipped,omitempty"`
}

// outcome is what became of a client.
type outcome struct {
	subject subject
	version string
	checks  []check
	notRun  string // why
}

// Limits of a client's program.
const (
	clientWithin = 4 * time.Minute
	maxTold      = 300 // bytes of a reason
)

// ask runs one client against the fleet.
func ask(ctx context.Context, root, url, key string, s subject) outcome {
	out := outcome{subject: s, notRun: s.why}
	for _, need := range s.needs {
		if out.notRun != "" {
			break
		}
		if strings.Contains(need, "/") {
			if _, err := os.Stat(filepath.Join(root, need)); err != nil {
				out.notRun = need + " is not there"
			}
		} else if _, err := exec.LookPath(need); err != nil {
			out.notRun = "no " + need + " on this machine"
		}
	}
	if out.notRun != "" {
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, clientWithin)
	defer cancel()
	args := make([]string, len(s.run))
	for i, a := range s.run {
		args[i] = strings.ReplaceAll(a, "@", root+"/")
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "SKEIN_URL="+url, "SKEIN_KEY="+key, "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1",
		"NODE_PATH="+filepath.Join(root, nodeModules))
	cmd.WaitDelay = 10 * time.Second
	var told, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &told, &said
	err := cmd.Run()
	for line := range strings.Lines(told.String()) {
		var c check
		if json.Unmarshal([]byte(line), &c) != nil {
			continue // what libraries say
		}
		if c.Client != "" {
			out.version = c.Version
		}
		if c.Check != "" {
			out.checks = append(out.checks, c)
		}
	}
	if err == nil && len(out.checks) == 0 {
		err = errors.New("it checked nothing")
	}
	if err != nil {
		out.checks = append(out.checks, check{Check: "runs to its end", Why: fmt.Sprintf("%v: %s", err, last(said.String()))})
	}
	return out
}

// last is the end of what a program said.
func last(text string) string {
	text = strings.TrimSpace(text)
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	return text[max(0, len(text)-maxTold):]
}
