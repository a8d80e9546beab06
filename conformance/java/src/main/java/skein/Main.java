package skein;

import com.google.protobuf.ByteString;
import com.google.protobuf.Message;
import inference.Inference;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientInterceptors;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Iterator;
import java.util.concurrent.TimeUnit;

/**
 * Calls a fleet with grpc-java, over both of its gRPC APIs. Messages are generated from the project's .proto files; methods are named here, so that
 * protoc alone is enough. Each check prints one line of JSON.
 */
public final class Main {
  private static final String OIP = "inference.GRPCInferenceService";
  private static final String SKEIN = "skein.inference.v1.InferenceService";

  private interface Check {
    void run() throws Exception;
  }

  private static <Q extends Message, A extends Message> MethodDescriptor<Q, A> method(MethodDescriptor.MethodType type, String service, String name, Q ask, A answer) {
    return MethodDescriptor.<Q, A>newBuilder()
        .setType(type)
        .setFullMethodName(MethodDescriptor.generateFullMethodName(service, name))
        .setRequestMarshaller(ProtoUtils.marshaller(ask))
        .setResponseMarshaller(ProtoUtils.marshaller(answer))
        .build();
  }

  private static <Q extends Message, A extends Message> A unary(Channel to, String service, String name, Q ask, A answer) {
    @SuppressWarnings("unchecked")
    Q type = (Q) ask.getDefaultInstanceForType();
    return ClientCalls.blockingUnaryCall(to, method(MethodDescriptor.MethodType.UNARY, service, name, type, answer), CallOptions.DEFAULT.withDeadlineAfter(30, TimeUnit.SECONDS), ask);
  }

  private static Iterator<skein.inference.v1.Inference.GenerateResponse> chat(Channel to, String model, String content) {
    skein.inference.v1.Inference.ChatRequest ask =
        skein.inference.v1.Inference.ChatRequest.newBuilder()
            .setModel(model)
            .addMessages(skein.inference.v1.Inference.Message.newBuilder().setRole("user").setContent(content))
            .build();
    MethodDescriptor<skein.inference.v1.Inference.ChatRequest, skein.inference.v1.Inference.GenerateResponse> chat =
        method(MethodDescriptor.MethodType.SERVER_STREAMING, SKEIN, "Chat", skein.inference.v1.Inference.ChatRequest.getDefaultInstance(), skein.inference.v1.Inference.GenerateResponse.getDefaultInstance());
    return ClientCalls.blockingServerStreamingCall(to, chat, CallOptions.DEFAULT.withDeadlineAfter(30, TimeUnit.SECONDS), ask);
  }

  private static void same(Object got, Object want) {
    if (!want.equals(got)) {
      throw new AssertionError("got " + got + ", want " + want);
    }
  }

  private static void refused(Status.Code code, Check check) throws Exception {
    try {
      check.run();
    } catch (StatusRuntimeException e) {
      same(e.getStatus().getCode(), code);
      return;
    }
    throw new AssertionError("not refused");
  }

  private static void check(String name, Check check) {
    String line = "{\"check\": \"" + name + "\", \"ok\": true}";
    try {
      check.run();
    } catch (Exception | AssertionError e) {
      e.printStackTrace();
      String why = String.valueOf(e.getMessage()).replaceAll("[^ -~]|[\"\\\\]", " ");
      line = "{\"check\": \"" + name + "\", \"ok\": false, \"why\": \"" + why + "\"}";
    }
    System.out.println(line);
  }

  public static void main(String[] args) {
    URI url = URI.create(System.getenv("SKEIN_URL"));
    Metadata key = new Metadata();
    key.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + System.getenv("SKEIN_KEY"));
    ManagedChannel open = NettyChannelBuilder.forAddress(url.getHost(), url.getPort()).usePlaintext().build();
    Channel to = ClientInterceptors.intercept(open, MetadataUtils.newAttachHeadersInterceptor(key));
    System.out.println("{\"client\": \"grpc-java\", \"version\": \"" + ManagedChannel.class.getPackage().getImplementationVersion() + "\"}");
    check("health", () -> {
      same(unary(to, OIP, "ServerLive", Inference.ServerLiveRequest.getDefaultInstance(), Inference.ServerLiveResponse.getDefaultInstance()).getLive(), true);
      Inference.ModelReadyRequest ask = Inference.ModelReadyRequest.newBuilder().setName("embed").build();
      same(unary(to, OIP, "ModelReady", ask, Inference.ModelReadyResponse.getDefaultInstance()).getReady(), true);
    });
    check("metadata", () -> {
      Inference.ModelMetadataRequest ask = Inference.ModelMetadataRequest.newBuilder().setName("embed").build();
      same(unary(to, OIP, "ModelMetadata", ask, Inference.ModelMetadataResponse.getDefaultInstance()).getInputs(0).getName(), "input_ids");
    });
    check("infer, raw contents", () -> {
      ByteBuffer ids = ByteBuffer.allocate(3 * 8).order(ByteOrder.LITTLE_ENDIAN).putLong(2).putLong(7).putLong(3).rewind();
      Inference.ModelInferRequest ask =
          Inference.ModelInferRequest.newBuilder()
              .setModelName("embed")
              .addInputs(Inference.ModelInferRequest.InferInputTensor.newBuilder().setName("input_ids").setDatatype("INT64").addShape(1).addShape(3))
              .addOutputs(Inference.ModelInferRequest.InferRequestedOutputTensor.newBuilder().setName("sentence_embedding"))
              .addRawInputContents(ByteString.copyFrom(ids))
              .build();
      Inference.ModelInferResponse got = unary(to, OIP, "ModelInfer", ask, Inference.ModelInferResponse.getDefaultInstance());
      ByteBuffer vector = got.getRawOutputContents(0).asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
      double norm = 0;
      for (int i = 0; i < 32; i++) {
        double x = vector.getFloat();
        norm += x * x;
      }
      same(Math.abs(norm - 1) < 1e-4, true);
    });
    check("chat, streamed", () -> {
      StringBuilder text = new StringBuilder();
      chat(to, "calc", "sum 17 25").forEachRemaining(piece -> text.append(piece.getText()));
      same(text.toString().strip(), "42");
    });
    check("embed", () -> {
      skein.inference.v1.Inference.EmbedRequest ask = skein.inference.v1.Inference.EmbedRequest.newBuilder().setModel("embed").addTexts("disk is full").build();
      same(unary(to, SKEIN, "Embed", ask, skein.inference.v1.Inference.EmbedResponse.getDefaultInstance()).getVectors(0).getValuesCount(), 32);
    });
    check("errors", () -> {
      refused(Status.Code.NOT_FOUND, () -> chat(to, "none", "x").next());
      refused(Status.Code.UNAUTHENTICATED, () -> chat(open, "calc", "x").next());
    });
    open.shutdownNow();
  }
}
