package org.tensorflow.lite;

import java.io.File;
import java.util.Map;

/** Signatures of LiteRT's interpreter for Android, for compiling only. */
public final class Interpreter implements AutoCloseable {
  public static class Options {
    public Options setNumThreads(int threads) {
      return this;
    }

    public Options addDelegate(Delegate delegate) {
      return this;
    }
  }

  public Interpreter(File file, Options options) {}

  public void runSignature(Map<String, Object> inputs, Map<String, Object> outputs, String signatureKey) {}

  public String[] getSignatureInputs(String signatureKey) {
    throw new UnsupportedOperationException();
  }

  public String[] getSignatureOutputs(String signatureKey) {
    throw new UnsupportedOperationException();
  }

  public Tensor getOutputTensorFromSignature(String outputName, String signatureKey) {
    throw new UnsupportedOperationException();
  }

  @Override
  public void close() {}
}
