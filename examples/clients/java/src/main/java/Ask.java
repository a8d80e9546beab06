import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientInterceptors;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import java.net.URI;
import java.util.concurrent.TimeUnit;
import skein.inference.v1.Inference;

/** Asks a model a sum by gRPC, and prints the answer as it comes. */
public final class Ask {
  private static final MethodDescriptor<Inference.ChatRequest, Inference.GenerateResponse> CHAT =
      MethodDescriptor.<Inference.ChatRequest, Inference.GenerateResponse>newBuilder()
          .setType(MethodDescriptor.MethodType.SERVER_STREAMING)
          .setFullMethodName("skein.inference.v1.InferenceService/Chat")
          .setRequestMarshaller(ProtoUtils.marshaller(Inference.ChatRequest.getDefaultInstance()))
          .setResponseMarshaller(ProtoUtils.marshaller(Inference.GenerateResponse.getDefaultInstance()))
          .build();

  public static void main(String[] args) {
    URI url = URI.create(System.getenv("SKEIN_URL"));
    NettyChannelBuilder builder = NettyChannelBuilder.forAddress(url.getHost(), url.getPort());
    ManagedChannel channel = (url.getScheme().equals("https") ? builder.useTransportSecurity() : builder.usePlaintext()).build();
    Metadata key = new Metadata();
    key.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + System.getenv("SKEIN_KEY"));
    Channel skein = ClientInterceptors.intercept(channel, MetadataUtils.newAttachHeadersInterceptor(key));
    Inference.ChatRequest ask =
        Inference.ChatRequest.newBuilder()
            .setModel("calc")
            .addMessages(Inference.Message.newBuilder().setRole("user").setContent("sum 17 25"))
            .build();
    ClientCalls.blockingServerStreamingCall(skein, CHAT, CallOptions.DEFAULT.withDeadlineAfter(30, TimeUnit.SECONDS), ask)
        .forEachRemaining(piece -> System.out.print(piece.getText()));
    System.out.println();
    channel.shutdownNow();
  }
}
