package admin

import (
	"context"

	"connectrpc.com/connect"

	accessv1 "github.com/skein-project/skein/api/skein/access/v1"
	adminv1 "github.com/skein-project/skein/api/skein/admin/v1"
	"github.com/skein-project/skein/api/skein/admin/v1/adminv1connect"
	"github.com/skein-project/skein/bill"
	"github.com/skein-project/skein/cluster"
)

type usages struct{ *Handler }

var _ adminv1connect.UsageServiceHandler = usages{}

var usageFields = map[adminv1.UsageField]bill.Field{
	adminv1.UsageField_USAGE_FIELD_DAY:         bill.Day,
	adminv1.UsageField_USAGE_FIELD_TENANT:      bill.Tenant,
	adminv1.UsageField_USAGE_FIELD_APPLICATION: bill.App,
	adminv1.UsageField_USAGE_FIELD_KEY:         bill.Key,
	adminv1.UsageField_USAGE_FIELD_MODEL:       bill.Model,
	adminv1.UsageField_USAGE_FIELD_VERSION:     bill.Version,
}

// GetUsage implements skein.admin.v1.
func (h usages) GetUsage(ctx context.Context, r *connect.Request[adminv1.GetUsageRequest]) (*connect.Response[adminv1.GetUsageResponse], error) {
	var by []bill.Field
	for _, f := range r.Msg.By {
		field, ok := usageFields[f]
		if !ok {
			return nil, invalid("usage is not summed by %v", f)
		}
		by = append(by, field)
	}
	s := h.c.Live().Now()
	prices, _, err := bill.PricesOf(s)
	if err != nil {
		return nil, err
	}
	until := cluster.Millis(r.Msg.UntilMs)
	if until == 0 {
		until = h.now() + 1
	}
	rows := bill.Sum(s.Usage(h.now()), cluster.Millis(r.Msg.FromMs), until, by, prices, func(u cluster.UsageID) bool {
		return (r.Msg.Tenant == "" || u.Tenant == r.Msg.Tenant) && sees(ctx, accessv1.Permission_PERMISSION_USAGE_READ, u.Tenant)
	})
	res := &adminv1.GetUsageResponse{Currency: prices.Currency}
	for _, row := range rows {
		v := &adminv1.UsageRow{DayMs: int64(row.Start), Month: row.Month, Tenant: row.Tenant, Application: row.App, Key: row.Key, Model: row.Version.Model,
			Calls: row.Calls, Failed: row.Failed, PromptTokens: row.Prompt, AnswerTokens: row.Answer, DeviceMs: row.DeviceMs, ReservedMs: row.Reserved, CostMicros: int64(row.Cost)}
		if row.Version.Number != 0 {
			v.Version = row.Version.String()
		}
		res.Rows = append(res.Rows, v)
	}
	return connect.NewResponse(res), nil
}

// GetPrices implements skein.admin.v1.
func (h usages) GetPrices(ctx context.Context, _ *connect.Request[adminv1.GetPricesRequest]) (*connect.Response[adminv1.GetPricesResponse], error) {
	s := h.c.Live().Now()
	prices, _, err := bill.PricesOf(s)
	res := &adminv1.GetPricesResponse{Currency: prices.Currency}
	for _, p := range prices.List {
		if !pays(ctx, s, p.Model) {
			continue
		}
		res.Prices = append(res.Prices, &adminv1.Price{Model: p.Model, PromptMillionTokens: int64(p.Prompt), AnswerMillionTokens: int64(p.Answer),
			ThousandCalls: int64(p.Calls), DeviceHour: int64(p.DeviceHour), ReservedHour: int64(p.ReservedHour)})
	}
	return connect.NewResponse(res), err
}

// pays says whether a price may be the caller's: others would tell names of models that it must not know of.
func pays(ctx context.Context, s cluster.State, model string) bool {
	return model == "*" || sees(ctx, accessv1.Permission_PERMISSION_PRICES_READ, s.Model(model).Owner) || s.MayCall(callerOf(ctx).Principal, model)
}

// SetPrices implements skein.admin.v1.
func (h usages) SetPrices(ctx context.Context, r *connect.Request[adminv1.SetPricesRequest]) (*connect.Response[adminv1.SetPricesResponse], error) {
	prices := bill.Prices{Currency: r.Msg.Currency}
	for _, p := range r.Msg.Prices {
		prices.List = append(prices.List, bill.Price{Model: p.GetModel(), Prompt: bill.Micros(p.GetPromptMillionTokens()), Answer: bill.Micros(p.GetAnswerMillionTokens()),
			Calls: bill.Micros(p.GetThousandCalls()), DeviceHour: bill.Micros(p.GetDeviceHour()), ReservedHour: bill.Micros(p.GetReservedHour())})
	}
	if err := prices.Validate(); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	return connect.NewResponse(&adminv1.SetPricesResponse{}), h.put(ctx, bill.Document.Kind, bill.Document.ID, prices)
}
