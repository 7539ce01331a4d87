package org.pytorch.executorch;

/** Signatures of ExecuTorch 1.x's Android library, for compiling only. */
public class Module {
  public static final int LOAD_MODE_MMAP = 1;

  public static Module load(String modelPath, int loadMode, int numThreads) {
    throw new UnsupportedOperationException();
  }

  public EValue[] execute(String methodName, EValue... inputs) {
    throw new UnsupportedOperationException();
  }

  public void destroy() {}
}
