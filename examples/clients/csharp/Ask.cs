// Asks a model a sum by gRPC, and prints the answer as it comes.
using Grpc.Core;
using Grpc.Net.Client;
using Skein.Inference.V1;

using var channel = GrpcChannel.ForAddress(Environment.GetEnvironmentVariable("SKEIN_URL")!);
var skein = new InferenceService.InferenceServiceClient(channel);
var key = new Metadata { { "authorization", "Bearer " + Environment.GetEnvironmentVariable("SKEIN_KEY") } };

var ask = new ChatRequest { Model = "calc", Messages = { new Message { Role = "user", Content = "sum 17 25" } } };
using var answer = skein.Chat(ask, key, DateTime.UtcNow.AddSeconds(30));
await foreach (var piece in answer.ResponseStream.ReadAllAsync())
{
    Console.Write(piece.Text);
}
Console.WriteLine();
