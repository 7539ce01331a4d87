package org.tensorflow.lite.nnapi;

import org.tensorflow.lite.Delegate;

/** Signatures of LiteRT's NNAPI delegate for Android, for compiling only. */
public class NnApiDelegate implements Delegate {
  public static final class Options {
    public Options setAcceleratorName(String name) {
      return this;
    }

    public Options setUseNnapiCpu(boolean enable) {
      return this;
    }
  }

  public NnApiDelegate(Options options) {}

  @Override
  public long getNativeHandle() {
    return 0;
  }
}
