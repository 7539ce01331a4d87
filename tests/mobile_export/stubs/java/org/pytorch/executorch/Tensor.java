package org.pytorch.executorch;

/** Signatures of ExecuTorch 1.x's Android library, for compiling only. */
public abstract class Tensor {
  public static Tensor fromBlob(float[] data, long[] shape) {
    throw new UnsupportedOperationException();
  }

  public static Tensor fromBlob(byte[] data, long[] shape) {
    throw new UnsupportedOperationException();
  }

  public static Tensor fromBlobUnsigned(byte[] data, long[] shape) {
    throw new UnsupportedOperationException();
  }

  public float[] getDataAsFloatArray() {
    throw new UnsupportedOperationException();
  }

  public int[] getDataAsIntArray() {
    throw new UnsupportedOperationException();
  }
}
