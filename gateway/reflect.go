package gateway

import (
	"context"
	"net/http"
	"strings"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"

	oipconnect "github.com/skein-project/skein/api/inference/inferenceconnect"
	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	"github.com/skein-project/skein/api/skein/inference/v1/inferencev1connect"
)

// healthModel begins the names by which the health of models is asked for: "models/calc", "models/calc@2".
const healthModel = "models/"

// registerReflection adds the health of services and models (grpc.health.v1), and the descriptions of the services (grpc.reflection.v1 and
// v1alpha). Services say how they are to everybody, as /readyz does; models to whoever may call them; descriptions need any key.
func (s *Server) registerReflection(mux doors) {
	services := []string{inferencev1connect.InferenceServiceName, oipconnect.GRPCInferenceServiceName}
	path, health := grpchealth.NewHandler(checker{s, services}, connect.WithReadMaxBytes(maxProbe))
	reflector := grpcreflect.NewStaticReflector(append(services, grpchealth.HealthV1ServiceName)...)
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" && r.Header.Get(keyHeader) == "" {
			health.ServeHTTP(w, r)
			return
		}
		s.keyed(w, r, health)
	})
	for _, make := range []func(*grpcreflect.Reflector, ...connect.HandlerOption) (string, http.Handler){grpcreflect.NewHandlerV1, grpcreflect.NewHandlerV1Alpha} {
		path, h := make(reflector, connect.WithReadMaxBytes(maxProbe))
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { s.keyed(w, r, h) })
	}
}

// maxProbe bounds a question about health or a description, in bytes.
const maxProbe = 64 << 10

// keyed lets in whoever has a key.
func (s *Server) keyed(w http.ResponseWriter, r *http.Request, h http.Handler) {
	r, c := s.begin(r, requestID(r.Header.Get(requestIDHeader)), opOther)
	defer c.end()
	if err := s.enter(r, c, r.URL.Path); err != nil {
		c.fail(err)
		if err := connect.NewErrorWriter().Write(w, r, s.connectError(err)); err != nil {
			s.log.Debug("a refusal was not taken", "err", err)
		}
		return
	}
	c.reach()
	h.ServeHTTP(w, r)
}

// checker says how services and models are.
type checker struct {
	s        *Server
	services []string
}

// Check implements grpchealth.Checker.
func (c checker) Check(ctx context.Context, r *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	status := func(ok bool) (*grpchealth.CheckResponse, error) {
		if ok {
			return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
		}
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil
	}
	name, isModel := strings.CutPrefix(r.Service, healthModel)
	if isModel {
		if callOf(ctx) == nil {
			return nil, c.s.connectError(&Error{Fault: FaultKey, Why: "an API key is needed for the health of models: Authorization: Bearer KEY"})
		}
		if !callOf(ctx).principal().May(accessv1.Permission_PERMISSION_INFER) {
			return nil, c.s.connectError(&Error{Fault: FaultPermission, Why: "the key lacks the permission infer"})
		}
		ready, err := c.s.modelReady(ctx, name, "")
		if err != nil {
			return nil, c.s.connectError(err)
		}
		return status(ready)
	}
	known := r.Service == ""
	for _, service := range c.services {
		known = known || r.Service == service
	}
	if !known {
		return nil, connect.NewError(connect.CodeNotFound, &Error{Fault: FaultInvalid, Why: "there is no such service"})
	}
	return status(c.s.Ready() == nil)
}
